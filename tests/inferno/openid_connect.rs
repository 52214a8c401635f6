//! Inferno's group "OpenID Connect" (`smart_openid_connect_stu2_2`).

use hearthgate::sandbox::PRACTITIONER;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use reqwest::StatusCode;
use rstest::rstest;
use serde_json::Value;

use crate::app::{Client, How, Launched, ORIGIN, assert_origin_allowed};
use crate::support::clinic::Clinic;
use crate::support::standalone::Answer;

async fn get(launched: &Launched, url: &str) -> Answer {
    launched.clinic.server.send(launched.clinic.server.client.get(url)).await
}

/// The issuer's discovery document, found as OpenID Connect Discovery says.
async fn configuration(launched: &Launched) -> Answer {
    let payload = jsonwebtoken::dangerous::insecure_decode::<Value>(launched.text("id_token")).unwrap().claims;
    let issuer = payload["iss"].as_str().unwrap().trim_end_matches('/');
    get(launched, &format!("{issuer}/.well-known/openid-configuration")).await
}

async fn rsa_keys(launched: &Launched) -> JwkSet {
    let url = configuration(launched).await.json()["jwks_uri"].as_str().unwrap().to_owned();
    let answer = get(launched, &url).await;
    assert_eq!(answer.status, StatusCode::OK);
    let mut keys: Value = answer.json();
    keys["keys"].as_array_mut().unwrap().retain(|key| key["kty"] == "RSA");
    serde_json::from_value(keys).unwrap()
}

/// The claims, where everything that Inferno checks about them holds.
async fn payload(launched: &Launched) -> Value {
    let token = launched.text("id_token");
    let kid = decode_header(&token).unwrap().kid.unwrap();
    let keys = rsa_keys(launched).await;
    let key = DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[launched.client.id()]);
    validation.set_issuer(&[configuration(launched).await.json()["issuer"].as_str().unwrap()]);
    validation.set_required_spec_claims(&["iss", "sub", "aud", "exp"]);
    decode::<Value>(&token, &key, &validation).unwrap().claims
}

#[rstest]
#[case(Client::Public, How::Standalone)]
#[case(Client::Symmetric, How::Ehr)]
#[tokio::test]
async fn smart_openid_decode_id_token(#[case] client: Client, #[case] how: How) {
    let launched = Clinic::shared().await.launch(client, how).await;
    assert!(jsonwebtoken::dangerous::insecure_decode::<Value>(launched.text("id_token")).is_ok());
}

#[tokio::test]
async fn smart_openid_retrieve_configuration() {
    let launched = Clinic::shared().await.launch(Client::Public, How::Standalone).await;
    let answer = configuration(&launched).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/json"));
    assert!(answer.json().is_object());
}

#[tokio::test]
async fn smart_openid_required_configuration_fields() {
    let launched = Clinic::shared().await.launch(Client::Public, How::Standalone).await;
    let configuration = configuration(&launched).await.json();
    for member in [
        "issuer",
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "response_types_supported",
        "subject_types_supported",
        "id_token_signing_alg_values_supported",
    ] {
        assert!(configuration.get(member).is_some(), "{member}");
    }
    let algorithms = configuration["id_token_signing_alg_values_supported"].as_array().unwrap();
    assert!(algorithms.contains(&Value::from("RS256")));
}

#[tokio::test]
async fn smart_openid_retrieve_jwks() {
    let launched = Clinic::shared().await.launch(Client::Public, How::Standalone).await;
    let keys = rsa_keys(&launched).await;
    assert!(!keys.keys.is_empty());
    for key in &keys.keys {
        assert!(DecodingKey::from_jwk(key).is_ok());
    }
}

#[rstest]
#[case(Client::Public, How::Standalone)]
#[case(Client::Symmetric, How::Ehr)]
#[tokio::test]
async fn smart_openid_token_header(#[case] client: Client, #[case] how: How) {
    let launched = Clinic::shared().await.launch(client, how).await;
    let header = decode_header(launched.text("id_token")).unwrap();
    assert_eq!(header.alg, Algorithm::RS256);
    assert!(rsa_keys(&launched).await.find(&header.kid.unwrap()).is_some());
}

#[rstest]
#[case(Client::Public, How::Standalone)]
#[case(Client::Symmetric, How::Ehr)]
#[tokio::test]
async fn smart_openid_token_payload(#[case] client: Client, #[case] how: How) {
    let launched = Clinic::shared().await.launch(client, how).await;
    let claims = payload(&launched).await;
    assert!((1..256).contains(&claims["sub"].as_str().unwrap().len()));
    assert!(claims["iat"].is_number());
}

#[rstest]
#[case(How::Standalone)]
#[case(How::Ehr)]
#[tokio::test]
async fn smart_openid_fhir_user_claim(#[case] how: How) {
    let launched = Clinic::shared().await.launch(Client::Symmetric, how).await;
    let user = payload(&launched).await["fhirUser"].as_str().unwrap().to_owned();
    let mut segments = user.rsplit('/');
    let (id, kind) = (segments.next().unwrap(), segments.next().unwrap());
    assert_eq!((kind, id), ("Practitioner", PRACTITIONER));
    let url = format!("{}/{kind}/{id}", launched.clinic.fhir_base());
    let answer = launched.clinic.server.get(&url, &launched.text("access_token")).await;
    assert_eq!(
        (answer.status, answer.json()["resourceType"].as_str()),
        (StatusCode::OK, Some("Practitioner")),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn smart_cors_openid_fhir_user_claim() {
    let launched = Clinic::shared().await.launch(Client::Symmetric, How::Standalone).await;
    let user = payload(&launched).await["fhirUser"].as_str().unwrap().to_owned();
    let request = launched.clinic.server.client.get(user).bearer_auth(launched.text("access_token"));
    let answer = launched.clinic.server.send(request.header("Origin", ORIGIN)).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_origin_allowed(&answer, ORIGIN);
}
