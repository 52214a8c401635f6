//! Registering with a browser.

use super::*;
use crate::sandbox::REGISTRATION_PATH;

impl Ehr {
    async fn registers(&self, form: &[(&str, &str)], site: &str) -> Answered {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = Request::post(REGISTRATION_PATH)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", site);
        self.send(request.body(Body::from(body)).unwrap()).await
    }
}

fn page(answered: &Answered) -> String {
    String::from_utf8(answered.body.to_vec()).unwrap()
}

#[tokio::test]
async fn an_app_is_registered_with_its_certificate_and_gets_tokens() {
    let ehr = Ehr::new();
    let form = [("appName", "Sync"), ("clientId", CLIENT), ("pem", &RSA.pem()), ("jwksUrl", " ")];
    let registered = ehr.registers(&form, "same-origin").await;
    assert_eq!(registered.status, StatusCode::SEE_OTHER);
    let shown = ehr.get(registered.header("location").unwrap()).await;
    assert!(page(&shown).contains(&format!("<strong>{CLIENT}</strong> is registered")), "{}", page(&shown));
    assert!(page(&shown).contains("<td>Sync</td>"), "{}", page(&shown));
    let token = ehr.token().await;
    assert_eq!(ehr.fhir(&token, "/Patient").await.status, StatusCode::OK);
}

#[tokio::test]
async fn whoever_gives_no_client_id_gets_one_as_vendors_give_it() {
    let ehr = Ehr::new();
    let url = "http://127.0.0.1:8080/default/keys/sync/jwks.json";
    let form = [("jwksUrl", url), ("redirectUris", "https://app.test/a\r\nhttps://app.test/b")];
    let registered = ehr.registers(&form, "same-origin").await;
    let (_, client_id) = registered.header("location").unwrap().split_once("registered=").unwrap();
    assert!(uuid::Uuid::try_parse(client_id).is_ok(), "{client_id}");
    let expected = json!([{ "clientId": client_id, "appName": null, "credentials": ["jwksUrl"], "jwksUrl": url,
        "redirectUris": ["https://app.test/a", "https://app.test/b"] }]);
    assert_eq!(ehr.get("/sandbox/clients").await.json(), expected);
}

#[tokio::test]
async fn what_is_wrong_is_told_above_what_was_filled_in() {
    let ehr = Ehr::new();
    for (form, sentence) in [
        (vec![("appName", "<Sync>")], "Give a JWK Set URL or a certificate, one of the two."),
        (vec![("appName", "<Sync>"), ("jwksUrl", "https://a.test/"), ("pem", "x")], "one of the two."),
        (vec![("appName", "<Sync>"), ("jwksUrl", "a.test")], "must be an absolute http or https URL."),
    ] {
        let refused = ehr.registers(&form, "same-origin").await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(page(&refused).contains(sentence), "{}", page(&refused));
        assert!(page(&refused).contains("value=\"&#60;Sync&#62;\""), "{}", page(&refused));
    }
    let form = [("clientId", CLIENT), ("jwksUrl", "https://a.test/jwks.json")];
    assert_eq!(ehr.registers(&form, "cross-site").await.status, StatusCode::FORBIDDEN);
    assert_eq!(ehr.get("/sandbox/clients").await.json(), json!([]));
    let shown = ehr.get(&format!("{REGISTRATION_PATH}?registered=made-up")).await;
    assert!(!page(&shown).contains("made-up"), "only what is registered is said to be");
    let policy = shown.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
}
