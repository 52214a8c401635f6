package dev.hearthgate.hapi;

import com.fasterxml.jackson.databind.ObjectMapper;
import jakarta.servlet.Filter;
import jakarta.servlet.FilterChain;
import jakarta.servlet.ServletException;
import jakarta.servlet.ServletRequest;
import jakarta.servlet.ServletResponse;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletRequestWrapper;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.util.Collections;
import java.util.Enumeration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CopyOnWriteArrayList;

/**
 * Lets nobody pass without a Bearer token, the capability statement apart, as EHRs do, and keeps a log of what arrived,
 * which is what the tests judge the gateway by.
 */
final class DoorKeeper implements Filter {
    static final String LOG_PATH = "/log";
    /** The language of those who are answered in gzip: a header that a gateway passes on. */
    private static final String COMPRESSING = "x-gzip";

    private final String fhirPath;
    private final List<Map<String, Object>> log = new CopyOnWriteArrayList<>();

    DoorKeeper(String fhirPath) {
        this.fhirPath = fhirPath;
    }

    @Override
    public void doFilter(ServletRequest plainRequest, ServletResponse plainResponse, FilterChain rest)
            throws IOException, ServletException {
        HttpServletRequest request = (HttpServletRequest) plainRequest;
        HttpServletResponse response = (HttpServletResponse) plainResponse;
        String path = request.getRequestURI();
        if (path.equals(LOG_PATH)) {
            rest.doFilter(request, response);
            return;
        }
        Map<String, Object> seen = new LinkedHashMap<>();
        seen.put("method", request.getMethod());
        seen.put("path", path);
        seen.put("query", request.getQueryString());
        Map<String, List<String>> headers = new TreeMap<>();
        for (String name : Collections.list(request.getHeaderNames())) {
            headers.put(name.toLowerCase(Locale.ROOT), Collections.list(request.getHeaders(name)));
        }
        seen.put("headers", headers);
        log.add(seen);
        String authorization = request.getHeader("Authorization");
        boolean hasToken = authorization != null && authorization.startsWith("Bearer ") && authorization.length() > 7;
        if (!hasToken && !path.equals(fhirPath + "/metadata")) {
            response.setStatus(HttpServletResponse.SC_UNAUTHORIZED);
            response.setHeader("WWW-Authenticate", "Bearer");
            return;
        }
        rest.doFilter(COMPRESSING.equals(request.getHeader("Accept-Language")) ? new Compressed(request) : request, response);
    }

    /** A request that HAPI compresses its answer to, whatever the client accepts: some EHRs' fronts do so. */
    private static final class Compressed extends HttpServletRequestWrapper {
        Compressed(HttpServletRequest request) {
            super(request);
        }

        @Override
        public String getHeader(String name) {
            return name.equalsIgnoreCase("Accept-Encoding") ? "gzip" : super.getHeader(name);
        }

        @Override
        public Enumeration<String> getHeaders(String name) {
            return name.equalsIgnoreCase("Accept-Encoding")
                    ? Collections.enumeration(List.of("gzip"))
                    : super.getHeaders(name);
        }
    }

    HttpServlet log() {
        return new HttpServlet() {
            @Override
            protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
                response.setContentType("application/json");
                new ObjectMapper().writeValue(response.getOutputStream(), log);
            }
        };
    }
}
