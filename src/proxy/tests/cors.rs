//! What a browser may do, and what it is told.

use serde_json::json;

use super::*;

const PAGE: (&str, &str) = ("origin", "https://page.example.org");
const ASKS: (&str, &str) = ("access-control-request-method", "POST");

async fn setup() -> Setup {
    Setup::with(|world| world.set("Gateway", "epic", "cors", json!({"allowedOrigins": ["https://page.example.org"]})))
        .await
}

/// The CORS headers of an answer: origin, exposed, methods, vary, credentials.
fn told(answer: &Answer) -> [Option<&str>; 3] {
    assert_eq!(answer.header("access-control-allow-credentials"), None, "no cookies, ever");
    ["access-control-allow-origin", "access-control-allow-methods", "vary"].map(|name| answer.header(name))
}

#[tokio::test]
async fn what_is_open_to_all_is_open_to_every_page() {
    let setup = setup().await;
    for path in [
        "/epic/fhir/.well-known/smart-configuration",
        "/epic/.well-known/openid-configuration",
        "/epic/fhir/metadata",
        "/epic/oauth2/jwks",
    ] {
        let answer = setup.ask("GET", path, &[("origin", "https://anyone.example")], "").await;
        assert_eq!(told(&answer), [Some("*"), None, None], "{path}");
        let answer = setup.ask("OPTIONS", path, &[("origin", "https://anyone.example"), ASKS], "").await;
        assert_eq!((answer.status, told(&answer)), (204, [Some("*"), Some("GET, HEAD"), None]), "{path}");
    }
}

#[tokio::test]
async fn the_rest_is_open_to_listed_origins() {
    let setup = setup().await;
    let own = Some("https://page.example.org");
    for (path, methods) in [
        ("/epic/oauth2/token", "POST"),
        ("/epic/fhir/Patient/1", "GET, HEAD, POST, PUT, PATCH, DELETE"),
        ("/epic/api/schedule", "GET, HEAD, POST, PUT, PATCH, DELETE"),
    ] {
        let answer = setup.ask("OPTIONS", path, &[PAGE, ASKS], "").await;
        assert_eq!((answer.status, told(&answer)), (204, [own, Some(methods), Some("Origin")]), "{path}");
        let allowed = answer.header("access-control-allow-headers").unwrap();
        assert!(allowed.contains("Authorization") && allowed.contains("If-Match"), "{allowed}");
        let answer = setup.ask("POST", path, &[PAGE], "").await;
        assert!(answer.status >= 400, "no token");
        assert_eq!(told(&answer), [own, None, Some("Origin")], "{path}: refusals can be read too");
        assert!(answer.header("access-control-expose-headers").unwrap().contains("ETag"));
    }
    assert!(setup.ehr.reached().is_empty());
}

#[tokio::test]
async fn other_origins_are_told_nothing() {
    let setup = setup().await;
    for origin in [
        "https://page.example.org.evil.example",
        "http://page.example.org",
        "https://page.example.org:444",
        "https://PAGE.example.org",
        "null",
        "https://mobile.example.org.evil.example",
    ] {
        let answer = setup.ask("OPTIONS", "/epic/fhir/Patient/1", &[("origin", origin), ASKS], "").await;
        assert_eq!(answer.refusal(), (403, "HG7081".into()), "{origin}");
        assert_eq!(told(&answer), [None, None, Some("Origin")], "{origin}");
        let answer = setup.ask("GET", "/epic/fhir/Patient/1", &[("origin", origin)], "").await;
        assert_eq!(told(&answer), [None, None, Some("Origin")], "{origin}");
    }
    let answer = setup.ask("OPTIONS", "/plain/oauth2/token", &[PAGE, ASKS], "").await;
    assert_eq!(answer.status, 403, "another gateway lists nothing");
}

#[tokio::test]
async fn an_apps_own_pages_may_call_where_it_is_activated() {
    let setup = setup().await;
    let own = ("origin", "https://mobile.example.org");
    let answer = setup.ask("OPTIONS", "/epic/oauth2/token", &[own, ASKS], "").await;
    assert_eq!((answer.status, told(&answer)[0]), (204, Some(own.1)));
    assert_eq!(setup.ask("OPTIONS", "/plain/oauth2/token", &[own, ASKS], "").await.status, 403);
}

#[tokio::test]
async fn a_question_that_is_no_preflight_is_no_method_of_ours() {
    let setup = setup().await;
    assert_eq!(setup.ask("OPTIONS", "/epic/fhir/Patient/1", &[], "").await.refusal(), (405, "HG7013".into()));
    let answer = setup.ask("OPTIONS", "/nowhere", &[PAGE, ASKS], "").await;
    assert_eq!((answer.status, told(&answer)), (404, [None, None, None]));
}
