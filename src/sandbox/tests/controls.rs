//! Clients, log and faults over HTTP.

use super::*;
use crate::sandbox::{FIRST_PATIENT, OPEN_FHIR_PATH, Verdict};

const CLIENTS: &str = "/sandbox/clients";
const FAULTS: &str = "/sandbox/faults";

fn open_patient() -> String {
    format!("{OPEN_FHIR_PATH}/Patient/{FIRST_PATIENT}")
}

#[tokio::test]
async fn a_client_is_registered_listed_without_secrets_and_removed_with_its_tokens() {
    let ehr = Ehr::new();
    let registered = ehr.post_json(CLIENTS, &json!({ "clientId": CLIENT, "appName": "Sync", "pem": RSA.pem() })).await;
    assert_eq!(registered.status, StatusCode::CREATED);
    let basic = json!({ "clientId": CLIENT, "basicUser": "emp$sync", "basicPassword": "top-secret" });
    assert_eq!(ehr.post_json(CLIENTS, &basic).await.status, StatusCode::CREATED);
    let secret = json!({ "clientId": "second", "clientSecret": "top-secret" });
    assert_eq!(ehr.post_json(CLIENTS, &secret).await.status, StatusCode::CREATED);
    let url = json!({ "clientId": "third", "jwksUrl": "http://127.0.0.1:8080/jwks.json" });
    assert_eq!(ehr.post_json(CLIENTS, &url).await.status, StatusCode::CREATED);
    assert_eq!(
        ehr.get(CLIENTS).await.json(),
        json!([
            { "clientId": CLIENT, "appName": "Sync", "credentials": ["pem", "basic"] },
            { "clientId": "second", "appName": null, "credentials": ["clientSecret"] },
            { "clientId": "third", "appName": null, "credentials": ["jwksUrl"],
              "jwksUrl": "http://127.0.0.1:8080/jwks.json" },
        ])
    );

    let token = ehr.token().await;
    assert_eq!(ehr.fhir(&token, "/Patient").await.status, StatusCode::OK);
    let remove = || Request::delete(format!("{CLIENTS}/{CLIENT}")).body(Body::empty()).unwrap();
    assert_eq!(ehr.send(remove()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(ehr.fhir(&token, "/Patient").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ehr.send(remove()).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_registration_that_makes_no_sense_is_refused_with_a_sentence() {
    let ehr = Ehr::new();
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let one = "name exactly one of jwksUrl, jwks, pem, clientSecret, public, or basicUser with basicPassword";
    let cases = [
        (json!({ "clientId": "x" }), one),
        (json!({ "clientId": "x", "clientSecret": "s", "jwksUrl": "https://a.test/" }), one),
        (json!({ "clientId": "x", "basicUser": "s" }), one),
        (json!({ "clientId": "", "clientSecret": "s" }), "the client ID must be 1 to 128 visible ASCII characters"),
        (json!({ "clientId": "a b", "clientSecret": "s" }), "the client ID must be 1 to 128 visible ASCII characters"),
        (json!({ "clientId": "x", "jwksUrl": "file:///k" }), "the JWK Set URL must be an absolute http or https URL"),
        (
            json!({ "clientId": "x", "pem": private }),
            "the PEM is refused: it holds a private key: an EHR must never see one; send the certificate or the public \
             key",
        ),
        (
            json!({ "clientId": "x", "pem": P384.pem() }),
            "the PEM is refused: as PEM only RSA keys are taken; elliptic curves need a JWK Set URL",
        ),
        (
            json!({ "clientId": "x", "pem": "hello" }),
            "the PEM is refused: it is not PEM (a block that begins with -----BEGIN CERTIFICATE----- or -----BEGIN \
             PUBLIC KEY-----)",
        ),
        (
            json!({ "clientId": "x", "basicUser": "a:b", "basicPassword": "p" }),
            "the secret, user and password must not be empty, and the user must not hold a colon",
        ),
    ];
    for (document, sentence) in cases {
        let answered = ehr.post_json(CLIENTS, &document).await;
        assert_eq!((answered.status.as_u16(), answered.json()), (400, json!({ "error": sentence })));
    }
    let unknown = ehr.post_json(CLIENTS, &json!({ "clientId": "x", "clientSecrt": "s" })).await;
    assert_eq!(unknown.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(ehr.get(CLIENTS).await.json(), json!([]));
}

#[tokio::test]
async fn the_log_tells_what_arrived_byte_by_byte_but_no_credential() {
    let ehr = Ehr::new();
    let request = Request::get(format!("{}?%5Fformat=json&a=b%20c", open_patient()))
        .header("authorization", "Bearer very-secret")
        .header("cookie", "session=very-secret")
        .header("epic-client-id", "someone")
        .header("x-twice", "one")
        .header("x-twice", "two");
    ehr.send(request.body(Body::empty()).unwrap()).await;
    let log = ehr.get("/sandbox/log").await;
    let entry = &log.json()[0];
    assert_eq!(entry["sequence"], 1);
    assert_eq!((&entry["method"], &entry["path"]), (&json!("GET"), &json!(open_patient())));
    assert_eq!(entry["query"], "%5Fformat=json&a=b%20c");
    assert_eq!(
        entry["headers"],
        json!({ "authorization": "Bearer", "cookie": "(not kept)", "epic-client-id": "someone", "x-twice": "one, two" })
    );
    assert_eq!(
        (&entry["status"], &entry["verdict"], &entry["reason"]),
        (&json!(200), &json!("accepted"), &json!(null))
    );
    assert!(!String::from_utf8_lossy(&log.body).contains("very-secret"));

    ehr.get("/nowhere").await;
    let later = ehr.get("/sandbox/log?after=1").await.json();
    assert_eq!(later.as_array().unwrap().len(), 1);
    assert_eq!((&later[0]["path"], &later[0]["verdict"]), (&json!("/nowhere"), &json!("refused")));
    ehr.send(Request::delete("/sandbox/log").body(Body::empty()).unwrap()).await;
    assert_eq!(ehr.get("/sandbox/log").await.json(), json!([]));
}

#[tokio::test]
async fn the_log_keeps_the_last_requests_only() {
    let ehr = Ehr::with(Settings { log_capacity: 2, ..Settings::default() });
    for _ in 0..3 {
        ehr.get(&open_patient()).await;
    }
    let sequences: Vec<u64> = ehr.log().iter().map(|entry| entry.sequence).collect();
    assert_eq!(sequences, [2, 3]);
}

#[tokio::test]
async fn a_fault_holds_for_as_many_requests_as_were_asked_for() {
    let ehr = Ehr::new();
    ehr.register(Credential::Pem(RSA.pem()));
    assert_eq!(ehr.post_json(FAULTS, &json!({ "tokenStatus": 503, "count": 2 })).await.status, StatusCode::CREATED);
    for expected in [503, 503, 200] {
        assert_eq!(ehr.assert_with(&Draft::new(&RSA)).await.status.as_u16(), expected);
    }
    assert_eq!(ehr.log()[0].verdict, Verdict::Fault);

    ehr.post_json(FAULTS, &json!({ "fhirStatus": 401 })).await;
    let refused = ehr.get(&open_patient()).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refused.header("www-authenticate"), Some(r#"Bearer realm="sandbox", error="invalid_token""#));
    assert_eq!(ehr.get(&open_patient()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn faults_redirect_replace_decorate_compress_and_break_off() {
    let ehr = Ehr::new();
    ehr.post_json(FAULTS, &json!({ "fhirRedirect": "http://elsewhere.test/" })).await;
    let moved = ehr.get(&open_patient()).await;
    assert_eq!((moved.status.as_u16(), moved.header("location")), (302, Some("http://elsewhere.test/")));
    ehr.post_json(FAULTS, &json!({ "fhirBody": "<html>", "fhirHeaders": { "Set-Cookie": "a=b" } })).await;
    let odd = ehr.get(&open_patient()).await;
    assert_eq!((odd.status.as_u16(), &odd.body[..], odd.header("set-cookie")), (200, &b"<html>"[..], Some("a=b")));
    ehr.post_json(FAULTS, &json!({ "fhirGzip": true })).await;
    let packed = ehr.get(&open_patient()).await;
    assert_eq!((packed.header("content-encoding"), &packed.body[..2]), (Some("gzip"), &[0x1f, 0x8b][..]));
    ehr.post_json(FAULTS, &json!({ "fhirBreakOffAfterBytes": 10 })).await;
    let request = Request::get(open_patient()).body(Body::empty()).unwrap();
    let broken = ehr.router.clone().oneshot(request).await.unwrap();
    assert!(to_bytes(broken.into_body(), usize::MAX).await.is_err());
    ehr.post_json(FAULTS, &json!({ "fhirStatus": 500, "count": 9 })).await;
    ehr.send(Request::delete(FAULTS).body(Body::empty()).unwrap()).await;
    assert_eq!(ehr.get(&open_patient()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_fault_that_makes_no_sense_is_refused() {
    let ehr = Ehr::new();
    for (fault, sentence) in [
        (json!({}), "name fields of exactly one of: token… (and idToken…), authorize…, fhir…, private…"),
        (
            json!({ "tokenStatus": 500, "fhirStatus": 500 }),
            "name fields of exactly one of: token… (and idToken…), authorize…, fhir…, private…",
        ),
        (json!({ "fhirStatus": 99 }), "a status must be 200 to 599"),
        (json!({ "fhirStatus": 500, "count": 0 }), "count must be 1 to 100000"),
        (json!({ "tokenDelayMilliseconds": 60_001 }), "a delay must be at most 60000 milliseconds"),
        (json!({ "fhirHeaders": { "a b": "c" } }), "the header \"a b\" cannot be sent"),
    ] {
        let answered = ehr.post_json(FAULTS, &fault).await;
        assert_eq!((answered.status.as_u16(), answered.json()), (400, json!({ "error": sentence })));
    }
}

#[tokio::test]
async fn deleting_the_tokens_ends_them() {
    let ehr = Ehr::new();
    ehr.register(Credential::Pem(RSA.pem()));
    let token = ehr.token().await;
    assert_eq!(ehr.fhir(&token, "/Patient").await.status, StatusCode::OK);
    ehr.send(Request::delete("/sandbox/tokens").body(Body::empty()).unwrap()).await;
    assert_eq!(ehr.fhir(&token, "/Patient").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_home_page_says_what_runs_where() {
    let ehr = Ehr::new();
    let json = ehr.get("/").await.json();
    assert_eq!(json["places"]["token URL (POST)"], format!("{BASE}{TOKEN_PATH}"));
    let html = ehr.send(Request::get("/").header("accept", "text/html").body(Body::empty()).unwrap()).await;
    assert!(String::from_utf8_lossy(&html.body).contains(&format!("<code>{BASE}{TOKEN_PATH}</code>")));
}
