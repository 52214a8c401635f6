//! The whole path.

use super::*;

#[tokio::test]
async fn a_standalone_launch_of_a_public_app_reads_the_patient() {
    let launches = Launches::new().await;
    let tokens = launches.tokens(&[]).await;
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["scope"], "patient/Patient.rs openid fhirUser launch/patient offline_access");
    assert_eq!(tokens["patient"], "p-1");
    assert_eq!(tokens.get("encounter"), None);
    let id_token = claims(&tokens["id_token"]);
    assert_eq!(id_token["iss"], ISSUER);
    assert_eq!(id_token["aud"], CLIENT);
    assert_eq!(id_token["nonce"], "the app's nonce");
    assert_eq!(id_token["fhirUser"], format!("{FHIR}/Practitioner/pr-1"));
    let access_token = claims(&tokens["access_token"]);
    assert_eq!(access_token["sub"], id_token["sub"]);
    assert_eq!(access_token["session"]["patient"], "p-1");

    assert_eq!(launches.call(&tokens["access_token"]).await, Ok(200));
    let refreshed = launches.refresh(tokens["refresh_token"].as_str().unwrap()).await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    assert_eq!(refreshed.json()["patient"], "p-1");
    assert_eq!(launches.call(&refreshed.json()["access_token"]).await, Ok(200));
    // Of all that, the EHR was asked for one token.
    assert_eq!(launches.ehr.given(), 1);
}
