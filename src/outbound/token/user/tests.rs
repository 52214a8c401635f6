//! What users' exchanges tell of an activation's standing at its EHR.

use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::outbound::clock::testing::ManualClock;
use crate::outbound::testing::{Ehr, World, token};
use crate::outbound::{Clock, EhrAnswer, EhrClient};

const CODE: UserGrant<'static> =
    UserGrant::Code { code: "a-code", redirect_uri: "https://gate.example.org/callback", verifier: "a-verifier" };
const REFRESH: UserGrant<'static> = UserGrant::Refresh("a-refresh-token");

struct Bench {
    ehr: Ehr,
    tokens: EhrTokens,
    activation: Arc<Activation>,
}

async fn bench() -> Bench {
    bench_of(&json!({})).await
}

/// With these members of `user` besides.
async fn bench_of(more: &Value) -> Bench {
    let ehr = Ehr::giving_tokens().await;
    let mut user = json!({"clientId": "client-1", "tokenUrl": ehr.url("/token")});
    user.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let world = World::with_ehr(&ehr.url("/fhir"), "FhirR4")
        .put(&json!({"kind": "App", "metadata": {"name": "app"}, "spec": {"clientType": "Public",
            "redirectUris": ["https://app.example.org/back"], "scopes": ["patient/Patient.rs"]}}))
        .put(&json!({"kind": "Activation", "metadata": {"name": "act"}, "spec": {"appRef": {"name": "app"},
            "gatewayRef": {"name": "gate"}, "ehrAuthentication": {"type": "User", "user": user}}}))
        .key(1);
    let clock = Arc::new(ManualClock::starting_at("2026-06-10T12:00:00Z".parse().unwrap()));
    let client = EhrClient::new(world.platform.addresses.clone());
    let tokens = EhrTokens::new(client, clock as Arc<dyn Clock>, Arc::default());
    Bench { ehr, tokens, activation: world.activation() }
}

fn answer(status: u16, body: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, [(CONTENT_TYPE, "application/json")], body.to_owned()).into_response()
}

impl Bench {
    /// What is said of the activation after this grant was answered like that.
    async fn told(&self, grant: UserGrant<'_>, status: u16, body: &'static str) -> Option<&'static str> {
        self.ehr.now_answers(move |_| answer(status, body));
        drop(self.tokens.of_user(&self.activation, grant).await);
        let outcome = self.tokens.outcomes().of(&self.activation.uid)?;
        assert_eq!((outcome.credential_digest, outcome.key), (self.activation.credential_digest, None));
        Some(match outcome.answer {
            EhrAnswer::Accepted => "accepted",
            EhrAnswer::Refused { .. } => "refused",
            EhrAnswer::Unusable { .. } => "unusable",
            EhrAnswer::Away { .. } => "away",
        })
    }
}

#[rstest]
#[case::a_token(CODE, 200, r#"{"access_token":"t","token_type":"Bearer"}"#, Some("accepted"))]
#[case::a_renewed_token(REFRESH, 200, r#"{"access_token":"t","token_type":"Bearer"}"#, Some("accepted"))]
#[case::we_are_unknown(CODE, 401, r#"{"error":"invalid_client"}"#, Some("refused"))]
#[case::we_may_not(CODE, 400, r#"{"error":"unauthorized_client"}"#, Some("refused"))]
#[case::a_bare_refusal(CODE, 401, "", Some("refused"))]
#[case::a_login_page(CODE, 200, "<html>", Some("unusable"))]
#[case::out_of_order(CODE, 503, "", Some("away"))]
#[case::a_code_that_somebody_made_up(CODE, 400, r#"{"error":"invalid_grant"}"#, None)]
#[case::a_code_that_cannot_be_read(CODE, 400, r#"{"error":"invalid_request"}"#, None)]
#[case::a_code_without_a_word(CODE, 400, "", None)]
#[case::a_session_that_is_over(REFRESH, 400, r#"{"error":"invalid_grant"}"#, None)]
#[case::a_request_that_it_does_not_take(REFRESH, 400, r#"{"error":"invalid_request"}"#, Some("refused"))]
#[tokio::test]
async fn what_is_about_the_activation_is_recorded_and_what_is_about_one_grant_is_not(
    #[case] grant: UserGrant<'static>,
    #[case] status: u16,
    #[case] body: &'static str,
    #[case] told: Option<&'static str>,
) {
    assert_eq!(bench().await.told(grant, status, body).await, told);
}

#[tokio::test]
async fn an_ehr_that_changed_its_mind_is_believed_and_one_users_bad_code_changes_nothing() {
    let bench = bench().await;
    assert_eq!(bench.told(CODE, 401, r#"{"error":"invalid_client"}"#).await, Some("refused"));
    assert_eq!(bench.told(CODE, 400, r#"{"error":"invalid_grant"}"#).await, Some("refused"));
    bench.ehr.now_answers(|_| token("token-1", 300));
    bench.tokens.of_user(&bench.activation, CODE).await.unwrap();
    assert_eq!(bench.told(CODE, 400, r#"{"error":"invalid_grant"}"#).await, Some("accepted"));
}

#[tokio::test]
async fn an_ehr_that_knows_a_key_says_so_without_a_user() {
    let bench = bench_of(&json!({"keyPair": {"algorithm": "ES384"}})).await;
    let (pair, _) = bench.activation.ehr_authentication.key_pair().unwrap();
    let key = &pair.revisions[0];
    let proven = async |status: u16, body: &'static str| {
        bench.ehr.now_answers(move |_| answer(status, body));
        bench.tokens.prove(&bench.activation, key).await.is_ok()
    };
    assert!(proven(400, r#"{"error":"unauthorized_client"}"#).await);
    assert!(proven(200, r#"{"access_token":"t","token_type":"Bearer"}"#).await);
    for word in ["invalid_client", "invalid_request", "invalid_grant", "unsupported_grant_type"] {
        let body: &'static str = Box::leak(format!(r#"{{"error":"{word}"}}"#).into_boxed_str());
        assert!(!proven(400, body).await, "{word}");
    }
    assert!(!proven(401, "").await);
    assert!(!proven(503, "").await);
    assert_eq!(bench.tokens.outcomes().of(&bench.activation.uid), None, "requests go on with the key that signs");
}
