package dev.hearthgate.hapi;

import ca.uhn.fhir.batch2.api.IJobMaintenanceService;
import ca.uhn.fhir.batch2.jobs.export.BulkDataExportProvider;
import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.interceptor.api.IInterceptorService;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.provider.JpaSystemProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.rest.api.EncodingEnum;
import ca.uhn.fhir.rest.api.server.SystemRequestDetails;
import ca.uhn.fhir.rest.server.HardcodedServerAddressStrategy;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.eclipse.jetty.ee10.servlet.FilterHolder;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.HttpConfiguration;
import org.eclipse.jetty.server.HttpConnectionFactory;
import org.eclipse.jetty.server.ServerConnector;
import org.hl7.fhir.r4.model.Bundle;
import org.hl7.fhir.r4.model.Meta;
import org.springframework.web.context.support.AnnotationConfigWebApplicationContext;

/** Serves FHIR R4 on this machine: {@code Server PORT FHIR-PATH}. Prints {@code ready} once the data is there. */
public final class Server {
    private Server() {}

    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        String path = arguments[1];
        String base = "http://127.0.0.1:" + port + path;

        ServletContextHandler handler = new ServletContextHandler("/");
        AnnotationConfigWebApplicationContext storage = new AnnotationConfigWebApplicationContext();
        storage.register(Storage.class);
        storage.setServletContext(handler.getServletContext());
        storage.refresh();

        DoorKeeper doorKeeper = new DoorKeeper(path);
        handler.addFilter(new FilterHolder(doorKeeper), "/*", null);
        handler.addServlet(new ServletHolder(doorKeeper.log()), DoorKeeper.LOG_PATH);
        handler.addServlet(new ServletHolder(fhir(storage, base)), path + "/*");

        org.eclipse.jetty.server.Server jetty = new org.eclipse.jetty.server.Server();
        HttpConfiguration http = new HttpConfiguration();
        http.setSendServerVersion(true);
        ServerConnector connector = new ServerConnector(jetty, new HttpConnectionFactory(http));
        connector.setHost("127.0.0.1");
        connector.setPort(port);
        jetty.addConnector(connector);
        jetty.setHandler(handler);

        seed(storage, base);
        // Exports move on when HAPI looks after its jobs, which it does once a minute by itself.
        IJobMaintenanceService jobs = storage.getBean(IJobMaintenanceService.class);
        Executors.newSingleThreadScheduledExecutor(Server::daemon)
                .scheduleWithFixedDelay(jobs::runMaintenancePass, 1, 1, TimeUnit.SECONDS);
        jetty.start();
        System.out.println("ready");
        jetty.join();
    }

    private static Thread daemon(Runnable work) {
        Thread thread = new Thread(work, "jobs");
        thread.setDaemon(true);
        return thread;
    }

    private static void seed(AnnotationConfigWebApplicationContext storage, String base) {
        IFhirSystemDao<Bundle, Meta> system = systemDao(storage);
        for (Bundle transaction : new Clinic(base).transactions()) {
            system.transaction(new SystemRequestDetails(), transaction);
        }
    }

    private static RestfulServer fhir(AnnotationConfigWebApplicationContext storage, String base) {
        RestfulServer server = new RestfulServer(storage.getBean(FhirContext.class));
        server.setInterceptorService(storage.getBean(IInterceptorService.class));
        server.registerProviders(storage.getBean(ResourceProviderFactory.class).createProviders());
        server.registerProvider(storage.getBean(JpaSystemProvider.class));
        server.registerProvider(storage.getBean(BulkDataExportProvider.class));
        JpaCapabilityStatementProvider capabilities = new JpaCapabilityStatementProvider(
                server,
                systemDao(storage),
                storage.getBean(JpaStorageSettings.class),
                storage.getBean(ISearchParamRegistry.class),
                storage.getBean(IValidationSupport.class));
        capabilities.setImplementationDescription("HAPI FHIR, behind the gateway");
        server.setServerConformanceProvider(capabilities);
        DatabaseBackedPagingProvider pages = storage.getBean(DatabaseBackedPagingProvider.class);
        pages.setDefaultPageSize(20);
        pages.setMaximumPageSize(200);
        server.setPagingProvider(pages);
        server.setDefaultResponseEncoding(EncodingEnum.JSON);
        server.setServerAddressStrategy(new HardcodedServerAddressStrategy(base));
        return server;
    }

    @SuppressWarnings("unchecked")
    private static IFhirSystemDao<Bundle, Meta> systemDao(AnnotationConfigWebApplicationContext storage) {
        return storage.getBean(IFhirSystemDao.class);
    }
}
