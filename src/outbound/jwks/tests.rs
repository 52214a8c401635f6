//! Key sets, fetched from a server that counts.

use axum::response::{IntoResponse as _, Response};
use futures_util::future::join_all;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::outbound::clock::testing::ManualClock;
use crate::outbound::testing::{Ehr, World};
use crate::protocol::test_support::AppKey;
use crate::values::key::Algorithm;
use crate::values::url::AddressPolicy;

/// A set with one key of this name.
fn set_of(kid: &str) -> String {
    json!({"keys": [AppKey::generate().jwk(kid)]}).to_string()
}

fn answer(cache_control: &'static str, body: String) -> Response {
    ([(CACHE_CONTROL, cache_control)], body).into_response()
}

fn has(keys: &JwkSet, kid: &str) -> bool {
    keys.find(Some(kid), Algorithm::Es384).is_ok()
}

struct Setup {
    server: Ehr,
    url: EndpointUrl,
    keys: AppKeys,
    clock: Arc<ManualClock>,
}

impl Setup {
    async fn serving(answer: impl FnMut() -> Response + Send + 'static) -> Self {
        let mut answer = answer;
        let server = Ehr::start(move |_| answer()).await;
        let url = EndpointUrl::parse(&server.url("/jwks.json")).unwrap();
        let clock = Arc::new(ManualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
        // The first fetch of all is not the clock's first instant.
        clock.advance(Duration::from_secs(100));
        let client = EhrClient::new(World::new().platform.addresses);
        let keys = AppKeys::new(client, Arc::clone(&clock) as Arc<dyn Clock>);
        Self { server, url, keys, clock }
    }

    fn fetches(&self) -> usize {
        self.server.count("/jwks.json")
    }

    async fn of(&self) -> Result<Arc<JwkSet>, KeySetError> {
        self.keys.of(&self.url).await
    }
}

#[tokio::test]
async fn a_set_is_kept_as_long_as_its_server_says_and_then_fetched_again() {
    let setup = Setup::serving(|| answer("public, max-age=60", set_of("a"))).await;
    assert!(has(&setup.of().await.unwrap(), "a"));
    setup.clock.advance(Duration::from_secs(59));
    setup.of().await.unwrap();
    assert_eq!(setup.fetches(), 1);
    setup.clock.advance(Duration::from_secs(1));
    setup.of().await.unwrap();
    assert_eq!(setup.fetches(), 2);
}

#[tokio::test]
async fn whoever_asks_while_it_is_fetched_shares_the_fetch() {
    let setup = Setup::serving(|| answer("max-age=0", set_of("a"))).await;
    let all = join_all((0..50).map(|_| setup.of())).await;
    assert!(all.iter().all(|keys| has(keys.as_ref().unwrap(), "a")));
    assert_eq!(setup.fetches(), 1);
    setup.clock.advance(Duration::from_secs(2));
    setup.of().await.unwrap();
    assert_eq!(setup.fetches(), 2, "it may not be kept at all");
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_once_and_not_again_at_once() {
    let setup = Setup::serving(|| answer("max-age=3600", set_of("old"))).await;
    let old = setup.of().await.unwrap();
    setup.server.now_answers(|_| answer("max-age=3600", set_of("new")));
    assert!(setup.keys.newer_than(&old, &setup.url).await.is_none(), "it is as new as can be");
    setup.clock.advance(BETWEEN_RENEWALS);
    let both = join_all((0..20).map(|_| setup.keys.newer_than(&old, &setup.url))).await;
    assert!(both.iter().all(|keys| has(keys.as_ref().unwrap(), "new")));
    let new = setup.of().await.unwrap();
    for _ in 0..100 {
        assert!(setup.keys.newer_than(&new, &setup.url).await.is_none());
    }
    assert_eq!(setup.fetches(), 2);
}

#[tokio::test]
async fn while_its_server_fails_a_set_is_used_to_the_end_of_its_time_and_no_longer() {
    let setup = Setup::serving(|| answer("max-age=60", set_of("a"))).await;
    let keys = setup.of().await.unwrap();
    setup.server.now_answers(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response());
    setup.clock.advance(Duration::from_secs(30));
    assert!(setup.keys.newer_than(&keys, &setup.url).await.is_none());
    assert!(has(&setup.of().await.unwrap(), "a"));
    setup.clock.advance(Duration::from_secs(30));
    assert_eq!(setup.of().await.unwrap_err(), KeySetError::Status(500));
    assert_eq!(setup.fetches(), 3);
}

#[tokio::test]
async fn fetches_of_a_server_that_fails_begin_a_second_apart() {
    let setup = Setup::serving(|| StatusCode::NOT_FOUND.into_response()).await;
    let started = std::time::Instant::now();
    setup.of().await.unwrap_err();
    setup.clock.advance(Duration::from_millis(800));
    setup.of().await.unwrap_err();
    assert!(started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());
    assert_eq!(setup.fetches(), 2);
}

#[rstest]
#[case::redirect(|| (StatusCode::FOUND, [(http::header::LOCATION, "/elsewhere")]).into_response(), KeySetError::Status(302))]
#[case::page(|| "<html>".into_response(), KeySetError::NotAKeySet)]
#[case::list(|| "[]".into_response(), KeySetError::NotAKeySet)]
#[case::no_keys(|| "{}".into_response(), KeySetError::NotAKeySet)]
#[case::endless(|| "x".repeat(LONGEST + 1).into_response(), KeySetError::Read(ReadError::TooLong { limit: LONGEST }))]
#[tokio::test]
async fn what_is_no_key_set_is_an_error(#[case] answer: fn() -> Response, #[case] error: KeySetError) {
    let setup = Setup::serving(answer).await;
    assert_eq!(setup.of().await.unwrap_err(), error);
    assert_eq!(setup.server.arrived().len(), 1, "no redirect is followed");
}

#[tokio::test]
async fn an_address_that_may_not_be_called_is_not_called() {
    let setup = Setup::serving(|| answer("max-age=60", set_of("a"))).await;
    let keys = AppKeys::new(EhrClient::new(AddressPolicy::default()), Arc::clone(&setup.clock) as Arc<dyn Clock>);
    assert!(matches!(keys.of(&setup.url).await, Err(KeySetError::Call(CallError::AddressNotAllowed { .. }))));
    assert_eq!(setup.fetches(), 0);
}

#[rstest]
#[case(&[], 300)]
#[case(&[("cache-control", "max-age=60")], 60)]
#[case(&[("cache-control", "public, Max-Age=\"60\"")], 60)]
#[case(&[("cache-control", "max-age=600"), ("cache-control", "max-age=60")], 60)]
#[case(&[("cache-control", "max-age=60"), ("age", "50")], 10)]
#[case(&[("cache-control", "max-age=60"), ("age", "61")], 0)]
#[case(&[("cache-control", "max-age=60"), ("age", "old")], 0)]
#[case(&[("cache-control", "max-age=86400")], 3600)]
#[case(&[("cache-control", "max-age=soon")], 0)]
#[case(&[("cache-control", "max-age=-1")], 0)]
#[case(&[("cache-control", "max-age=60, no-store")], 0)]
#[case(&[("cache-control", "no-cache=\"x\", max-age=60")], 0)]
#[case(&[("cache-control", "public")], 300)]
#[case(&[("expires", "0")], 0)]
#[case(&[("expires", "0"), ("cache-control", "max-age=60")], 60)]
fn lifetimes_are_what_headers_say(#[case] headers: &[(&'static str, &'static str)], #[case] seconds: u64) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_static(value));
    }
    assert_eq!(lifetime(&map), Duration::from_secs(seconds));
}
