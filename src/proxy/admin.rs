//! The admin listener: health, metrics, status, and what tests and the command line ask.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ETAG, HOST, IF_NONE_MATCH, ORIGIN, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Metrics;
use crate::outbound::programmed::ProgrammedDocument;
use crate::snapshot::ObjectKey;
use crate::snapshot::live::LiveStatus;

/// What a probe that somebody asked for came to.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeAnswer {
    /// There is no such activation.
    Unknown,
    /// What the EHR said.
    Asked(Arc<Value>),
}

/// Asks an EHR now, for one activation.
pub type Probe = Arc<dyn Fn(ObjectKey) -> BoxFuture<'static, ProbeAnswer> + Send + Sync>;

/// Whether a bearer token lets in.
pub type Guard = Arc<dyn Fn(SecretString) -> BoxFuture<'static, bool> + Send + Sync>;

/// The longest that a request may wait for news.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// What the admin listener shows.
#[derive(Clone)]
pub struct Admin {
    /// Whether requests can be served: every store is synced and the first snapshot is in.
    pub ready: Arc<dyn Fn() -> bool + Send + Sync>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// What is told of every object; written as JSON for whoever asks.
    pub status: watch::Receiver<Arc<LiveStatus>>,
    /// The digest of each object as this replica compiled it, and the last EHR outcome of each activation.
    pub programmed: watch::Receiver<ProgrammedDocument>,
    /// Asks an EHR now.
    pub probe: Probe,
    /// Judges the tokens that all but health and metrics ask for. `None`: they ask for none (a listener on loopback).
    pub guard: Option<Guard>,
    /// Pages for people (the console), which ask by themselves who it is.
    pub pages: Router,
}

impl fmt::Debug for Admin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// The routes, for a listener at `listener`.
pub fn router(admin: Admin, listener: SocketAddr) -> Router {
    let guarded = Router::new()
        .route("/status", get(status))
        .route("/programmed", get(programmed))
        .route("/probe/{namespace}/{activation}", post(probe))
        .layer(from_fn_with_state(admin.clone(), only_with_token))
        .layer(from_fn_with_state(listener, only_own_hosts));
    let pages = admin.pages.clone().layer(from_fn_with_state(listener, only_own_hosts));
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .merge(guarded)
        .with_state(admin)
        .merge(pages)
}

/// Serves until `shutdown` is there.
pub async fn serve(
    listener: TcpListener,
    admin: Admin,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    axum::serve(listener, router(admin, address)).with_graceful_shutdown(shutdown).await
}

async fn readyz(State(admin): State<Admin>) -> Response {
    if (admin.ready)() {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, media_type)], admin.metrics.text()).into_response()
}

async fn status(State(admin): State<Admin>) -> Response {
    let status = Arc::clone(&admin.status.borrow());
    ([(CACHE_CONTROL, "no-store")], Json(status)).into_response()
}

/// What this replica serves; with `If-None-Match` only if that is something else (RFC 9110 §13.1.2), and with
/// `Prefer: wait=<seconds>` once it is (RFC 7240 §4.3).
async fn programmed(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let mut document = admin.programmed;
    let known = header(&headers, IF_NONE_MATCH).unwrap_or_default();
    if let Some(wait) = header(&headers, PREFER).and_then(preferred_wait) {
        // Whether it came, the time is over or everything ends: what is there now is told.
        let _ = timeout(wait, document.wait_for(|document| document.entity_tag != known)).await;
    }
    let document = document.borrow().clone();
    let general = [(CACHE_CONTROL, "no-store".to_owned()), (ETAG, document.entity_tag.clone())];
    if document.entity_tag == known {
        return (StatusCode::NOT_MODIFIED, general).into_response();
    }
    (general, [(CONTENT_TYPE, "application/json")], document.body).into_response()
}

fn preferred_wait(prefer: &str) -> Option<Duration> {
    let preferences = prefer.split(',').map(str::trim);
    let seconds = preferences.filter_map(|preference| preference.strip_prefix("wait=")).find_map(|s| s.parse().ok())?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

async fn probe(State(admin): State<Admin>, Path((namespace, activation)): Path<(String, String)>) -> Response {
    match (admin.probe)(ObjectKey::new(namespace, activation)).await {
        ProbeAnswer::Unknown => (StatusCode::NOT_FOUND, Json(json!({"error": "no such activation"}))).into_response(),
        ProbeAnswer::Asked(answer) => Json(answer).into_response(),
    }
}

/// A page of another site may make a browser call a loopback address under a name of its own (DNS rebinding), or send a
/// form to it: such requests carry a foreign `Host`, or a foreign `Origin`.
async fn only_own_hosts(State(listener): State<SocketAddr>, request: Request, next: Next) -> Response {
    let host =
        request.uri().authority().map_or_else(|| header(request.headers(), HOST), |authority| Some(authority.as_str()));
    if !host.is_some_and(|host| is_own_host(host, listener)) {
        let said = "this is not the name of the admin listener\n";
        return (StatusCode::MISDIRECTED_REQUEST, said).into_response();
    }
    let foreign = header(request.headers(), ORIGIN)
        .is_some_and(|origin| origin.split_once("://").is_none_or(|(_, origin)| Some(origin) != host));
    if foreign {
        return (StatusCode::FORBIDDEN, "requests of other sites are not answered\n").into_response();
    }
    let mut response = next.run(request).await;
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

async fn only_with_token(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let Some(guard) = admin.guard else { return next.run(request).await };
    let token = header(request.headers(), AUTHORIZATION)
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| SecretString::from(token.trim().to_owned()));
    let is_known = match token {
        Some(token) => guard(token).await,
        None => false,
    };
    if is_known {
        return next.run(request).await;
    }
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], "a token that the API server knows is needed\n")
        .into_response()
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn is_own_host(host: &str, listener: SocketAddr) -> bool {
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _port)| name),
    };
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    // Rebinding needs a name; of a listener on all addresses every literal one may be its own.
    name.parse::<IpAddr>()
        .is_ok_and(|address| address.is_loopback() || address == listener.ip() || listener.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request as HttpRequest;
    use http_body_util::BodyExt as _;
    use secrecy::ExposeSecret as _;
    use tower::ServiceExt as _;

    fn admin(ready: bool) -> Router {
        router(shown(ready, None), "10.1.2.3:9090".parse().unwrap())
    }

    fn shown(ready: bool, guard: Option<Guard>) -> Admin {
        let (_sender, status) = watch::channel(Arc::default());
        let (_sender, programmed) = watch::channel(ProgrammedDocument::default());
        Admin {
            guard,
            ready: Arc::new(move || ready),
            metrics: Arc::default(),
            pages: Router::new(),
            status,
            programmed,
            probe: Arc::new(|activation| {
                Box::pin(async move {
                    if activation.name == "known" {
                        ProbeAnswer::Asked(Arc::new(json!({"answer": "accepted"})))
                    } else {
                        ProbeAnswer::Unknown
                    }
                })
            }),
        }
    }

    async fn ask(router: Router, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut request = HttpRequest::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn health_tells_the_truth_under_any_name() {
        let foreign = [("host", "evil.example")];
        assert_eq!(ask(admin(false), "GET", "/livez", &foreign).await, (200, "ok\n".into()));
        assert_eq!(ask(admin(false), "GET", "/readyz", &foreign).await, (503, "not ready\n".into()));
        assert_eq!(ask(admin(true), "GET", "/readyz", &foreign).await, (200, "ready\n".into()));
        assert!(ask(admin(true), "GET", "/metrics", &foreign).await.1.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn everything_else_is_told_to_own_names_only() {
        for host in ["localhost:9090", "127.0.0.1", "127.0.0.1:1", "[::1]:9090", "10.1.2.3:9090"] {
            let (code, body) = ask(admin(true), "GET", "/status", &[("host", host)]).await;
            assert_eq!((code, body.as_str()), (200, "{\"objects\":[],\"rejections\":[]}"), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "10.1.2.4:9090", "", "127.0.0.1.nip.io:9090"] {
            assert_eq!(ask(admin(true), "GET", "/status", &[("host", host)]).await.0, 421, "{host}");
            assert_eq!(ask(admin(true), "GET", "/programmed", &[("host", host)]).await.0, 421, "{host}");
        }
        assert_eq!(ask(admin(true), "GET", "/status", &[]).await.0, 421);
    }

    #[tokio::test]
    async fn a_probe_is_asked_for_by_post_and_not_by_other_sites() {
        let own = ("host", "localhost:9090");
        assert_eq!(
            ask(admin(true), "POST", "/probe/default/known", &[own]).await,
            (200, "{\"answer\":\"accepted\"}".into())
        );
        assert_eq!(ask(admin(true), "POST", "/probe/default/other", &[own]).await.0, 404);
        assert_eq!(ask(admin(true), "GET", "/probe/default/known", &[own]).await.0, 405);
        let foreign = [own, ("origin", "https://evil.example")];
        assert_eq!(ask(admin(true), "POST", "/probe/default/known", &foreign).await.0, 403);
    }

    #[tokio::test]
    async fn elsewhere_than_on_loopback_all_but_health_asks_for_a_known_token() {
        let guard: Guard = Arc::new(|token| Box::pin(async move { token.expose_secret() == "known" }));
        let own = ("host", "10.1.2.3:9090");
        let ask = async |path, authorization| {
            let listener = "10.1.2.3:9090".parse().unwrap();
            let router = router(shown(true, Some(Arc::clone(&guard))), listener);
            ask(router, "GET", path, &[own, ("authorization", authorization)]).await.0
        };
        for (path, authorization, status) in [
            ("/livez", "", 200),
            ("/readyz", "", 200),
            ("/metrics", "", 200),
            ("/status", "", 401),
            ("/status", "Bearer unknown", 401),
            ("/status", "Basic known", 401),
            ("/status", "Bearer known", 200),
            ("/programmed", "", 401),
            ("/programmed", "bearer known", 200),
            ("/probe/default/known", "", 401),
        ] {
            assert_eq!(ask(path, authorization).await, status, "{path} {authorization:?}");
        }
    }

    #[tokio::test]
    async fn what_is_served_is_told_when_it_is_something_else_than_what_is_known() {
        let (sender, programmed) = watch::channel(ProgrammedDocument::default());
        let known = sender.borrow().entity_tag.clone();
        let admin = Admin { programmed, ..shown(true, None) };
        let own = ("host", "localhost:9090");
        let poll = async |known: &str, prefer: &str| {
            let router = router(admin.clone(), "127.0.0.1:9090".parse().unwrap());
            ask(router, "GET", "/programmed", &[own, ("if-none-match", known), ("prefer", prefer)]).await
        };
        assert_eq!(poll("", "").await, (200, r#"{"objects":[],"outcomes":{}}"#.into()));
        assert_eq!(poll(&known, "").await, (304, String::new()));
        let began = std::time::Instant::now();
        assert_eq!(poll(&known, "respond-async, wait=1").await, (304, String::new()));
        assert!(began.elapsed() >= Duration::from_secs(1));
        let news = ProgrammedDocument { entity_tag: "\"other\"".into(), body: "{}".into() };
        let (answer, ()) = tokio::join!(poll(&known, "wait=20"), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            sender.send_replace(news.clone());
        });
        assert_eq!(answer, (200, "{}".into()));
        drop(sender);
        assert_eq!(poll("\"other\"", "wait=20").await, (304, String::new()), "an ending replica lets nobody wait");
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
