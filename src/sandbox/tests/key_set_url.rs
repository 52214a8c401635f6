//! Keys that clients publish at a URL: fetched, cached, and fetched anew once when they do not fit.

use axum::Json;
use axum::routing::get;
use tokio::net::TcpListener;

use super::token::{BARE, refused};
use super::*;

/// Serves a JWK Set that can be changed, and counts how often it was asked for.
struct Published {
    url: String,
    document: Arc<std::sync::Mutex<(Value, &'static str, usize)>>,
}

impl Published {
    async fn new(document: Value, cache_control: &'static str) -> Published {
        let document = Arc::new(std::sync::Mutex::new((document, cache_control, 0)));
        let served = Arc::clone(&document);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let router = Router::new().route(
            "/jwks.json",
            get(move || async move {
                let mut served = served.lock().unwrap();
                served.2 += 1;
                ([("cache-control", served.1)], Json(served.0.clone()))
            }),
        );
        tokio::spawn(async move { axum::serve(listener, router).await });
        Published { url, document }
    }

    fn publish(&self, document: Value) {
        self.document.lock().unwrap().0 = document;
    }

    fn fetched(&self) -> usize {
        self.document.lock().unwrap().2
    }
}

#[tokio::test]
async fn a_key_set_url_is_fetched_once_and_again_when_a_key_is_missing() {
    let published = Published::new(P256.jwks(), "max-age=3600").await;
    let ehr = Ehr::new();
    ehr.register(Credential::JwksUrl(published.url.clone()));
    assert_eq!(ehr.assert_with(&Draft::new(&P256)).await.status, StatusCode::OK);
    assert_eq!(ehr.assert_with(&Draft::new(&P256).header("jku", published.url.as_str())).await.status, StatusCode::OK);
    assert_eq!(published.fetched(), 1);

    published.publish(json!({ "keys": [P256.jwk("key-1"), P384.jwk("key-2")] }));
    assert_eq!(ehr.assert_with(&Draft::new(&P384).header("kid", "key-2")).await.status, StatusCode::OK);
    assert_eq!(published.fetched(), 2);

    let unknown = "the registered JWK Set: it has no EC key with the kid \"key-3\"";
    refused(&ehr, &Draft::new(&P384).header("kid", "key-3"), unknown).await;
    assert_eq!(published.fetched(), 3);
}

#[tokio::test]
async fn a_key_replaced_under_its_kid_is_found_by_fetching_again() {
    let published = Published::new(RSA.jwks(), "max-age=3600").await;
    let ehr = Ehr::new();
    ehr.register(Credential::JwksUrl(published.url.clone()));
    assert_eq!(ehr.assert_with(&Draft::new(&RSA)).await.status, StatusCode::OK);
    published.publish(OTHER_RSA.jwks());
    assert_eq!(ehr.assert_with(&Draft::new(&OTHER_RSA)).await.status, StatusCode::OK);
    refused(&ehr, &Draft::new(&RSA), "the signature does not verify with the registered key").await;
}

#[tokio::test]
async fn a_key_set_that_must_not_be_stored_is_fetched_every_time() {
    let published = Published::new(RSA.jwks(), "no-store").await;
    let ehr = Ehr::new();
    ehr.register(Credential::JwksUrl(published.url.clone()));
    for _ in 0..2 {
        assert_eq!(ehr.assert_with(&Draft::new(&RSA)).await.status, StatusCode::OK);
    }
    assert_eq!(published.fetched(), 2);
}

#[tokio::test]
async fn a_key_set_url_that_fails_is_invalid_client_with_the_reason_in_the_log() {
    let published = Published::new(json!({ "keys": "none" }), "no-store").await;
    let ehr = Ehr::new();
    ehr.register(Credential::JwksUrl(published.url.clone()));
    let not_a_set = format!(
        "what {} answers is refused: it is not a JWK Set: an object with an array \"keys\" of objects",
        published.url
    );
    refused(&ehr, &Draft::new(&RSA), &not_a_set).await;

    published.publish(json!({ "keys": [{ "kty": "RSA", "kid": "key-1", "d": "AQ" }] }));
    assert_eq!(&ehr.assert_with(&Draft::new(&RSA)).await.body[..], BARE.as_bytes());
    assert!(ehr.last().reason.unwrap().contains("it publishes a private or symmetric key"));

    let elsewhere = published.url.replace("jwks.json", "nothing");
    ehr.register(Credential::JwksUrl(elsewhere.clone()));
    refused(&ehr, &Draft::new(&RSA), &format!("the JWK Set URL {elsewhere} answered 404 Not Found")).await;

    ehr.register(Credential::JwksUrl("http://127.0.0.1:9/jwks.json".to_owned()));
    assert_eq!(&ehr.assert_with(&Draft::new(&RSA)).await.body[..], BARE.as_bytes());
    assert!(ehr.last().reason.unwrap().starts_with("the JWK Set URL http://127.0.0.1:9/jwks.json cannot be reached"));
}
