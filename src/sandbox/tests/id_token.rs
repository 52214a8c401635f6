//! The EHR as an OpenID provider.

use super::user_support::*;
use super::*;
use crate::sandbox::key_set::KeySet;
use crate::sandbox::public_key::Algorithm;

const ISSUER: &str = "http://ehr.test/interconnect/oauth2";
const SCOPE: &str = "openid fhirUser launch/patient patient/*.rs";

/// Header and claims, where the published key verifies them.
async fn verified(ehr: &Ehr, token: &str) -> Option<(Value, Value)> {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let parts: Vec<Value> = message
        .split('.')
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
        .collect();
    let keys = KeySet::parse(&ehr.get("/interconnect/oauth2/jwks").await.json()).unwrap();
    let key = keys.select(parts[0]["kid"].as_str().unwrap(), Algorithm::Rs256).ok()?;
    let right = key.verifies(Algorithm::Rs256, message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap());
    right.then(|| (parts[0].clone(), parts[1].clone()))
}

async fn id_token(ehr: &Ehr, scope: &str) -> Option<String> {
    let answer = ehr.launched(scope, "anna.cadence", "patient-9").await;
    answer.get("id_token").map(|token| token.as_str().unwrap().to_owned())
}

#[tokio::test]
async fn it_says_who_logged_in_where_for_whom_and_in_answer_to_what() {
    let ehr = ehr_with(Credential::Public);
    let (header, mut claims) = verified(&ehr, &id_token(&ehr, SCOPE).await.unwrap()).await.unwrap();
    assert_eq!((&header["alg"], &header["typ"]), (&json!("RS256"), &json!("JWT")));
    let now = Timestamp::now().as_second();
    for (claim, seconds) in [("iat", 0), ("exp", 3600), ("auth_time", 0)] {
        let time = claims.as_object_mut().unwrap().remove(claim).unwrap().as_i64().unwrap();
        assert!((now + seconds - time).abs() < 30, "{claim} is {time}");
    }
    assert_eq!(
        claims,
        json!({
            "iss": ISSUER,
            "sub": "anna.cadence",
            "aud": CLIENT,
            "nonce": "n-0S6_WzA2Mj",
            "fhirUser": format!("{}/Practitioner/{}", fhir_base(), crate::sandbox::PRACTITIONER),
        })
    );
}

#[tokio::test]
async fn it_comes_with_openid_alone_and_names_the_resource_with_fhir_user_alone() {
    let ehr = ehr_with(Credential::Public);
    assert_eq!(id_token(&ehr, "fhirUser launch/patient patient/*.rs").await, None);
    let (_, claims) = verified(&ehr, &id_token(&ehr, "openid launch/patient").await.unwrap()).await.unwrap();
    assert_eq!((claims.get("fhirUser"), &claims["sub"]), (None, &json!("anna.cadence")));
}

#[tokio::test]
async fn a_test_can_have_it_wrong_forged_or_signed_with_a_new_key() {
    let ehr = ehr_with(Credential::Public);
    let fault = json!({ "idTokenClaims": { "nonce": "another", "iss": "https://evil.test", "aud": null } });
    ehr.post_json("/sandbox/faults", &fault).await;
    let (_, claims) = verified(&ehr, &id_token(&ehr, SCOPE).await.unwrap()).await.unwrap();
    assert_eq!(
        (&claims["nonce"], &claims["iss"], claims.get("aud")),
        (&json!("another"), &json!("https://evil.test"), None)
    );
    ehr.post_json("/sandbox/faults", &json!({ "idTokenForged": true })).await;
    assert_eq!(verified(&ehr, &id_token(&ehr, SCOPE).await.unwrap()).await, None);
    ehr.post_json("/sandbox/faults", &json!({ "tokenMembers": { "id_token": null } })).await;
    assert_eq!(id_token(&ehr, SCOPE).await, None);

    let old = id_token(&ehr, SCOPE).await.unwrap();
    ehr.send(Request::delete("/sandbox/id-token-keys").body(Body::empty()).unwrap()).await;
    assert_eq!(verified(&ehr, &old).await, None);
    assert!(verified(&ehr, &id_token(&ehr, SCOPE).await.unwrap()).await.is_some());
}

#[tokio::test]
async fn both_discovery_documents_name_what_is_there() {
    let ehr = ehr_with(Credential::Public);
    let smart = ehr.get(&format!("{FHIR_PATH}/.well-known/smart-configuration")).await.json();
    let openid = ehr.get("/interconnect/oauth2/.well-known/openid-configuration").await.json();
    for document in [&smart, &openid] {
        assert_eq!(document["issuer"], ISSUER);
        assert_eq!(document["code_challenge_methods_supported"], json!(["S256"]));
    }
    for (document, member) in
        [(&smart, "authorization_endpoint"), (&smart, "token_endpoint"), (&smart, "jwks_uri"), (&openid, "jwks_uri")]
    {
        let url = document[member].as_str().unwrap();
        assert_ne!(ehr.get(url.strip_prefix(BASE).unwrap()).await.status, StatusCode::NOT_FOUND, "{url}");
    }
    let metadata =
        ehr.with_json("GET", &format!("{FHIR_PATH}/metadata"), &json!(null), &[("accept", "application/json")]).await;
    let extension = &metadata.json()["rest"][0]["security"]["extension"][0]["extension"];
    assert_eq!(extension[0]["valueUri"], smart["authorization_endpoint"]);
    assert_eq!(extension[1]["valueUri"], smart["token_endpoint"]);
}
