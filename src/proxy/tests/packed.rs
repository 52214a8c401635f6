//! An EHR that sends gzip, whatever it is asked for.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::narrowed::token_for;
use super::*;

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// An EHR whose every answer is what this makes of its own base, in gzip.
async fn ehr(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Ehr {
    Ehr::answering(move |reached| {
        let base = format!("http://{}/fhir", reached.header("host").unwrap());
        let body = if reached.method == "HEAD" { Bytes::new() } else { answer(&base).into() };
        let headers = [("content-type", "application/fhir+json"), ("content-encoding", "gzip"), ("etag", "W/\"1\"")];
        let mut response = Response::new(Full::new(body));
        for (name, value) in headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    })
    .await
}

fn observation(base: &str, patient: &str) -> Vec<u8> {
    let subject = format!("{base}/Patient/{patient}");
    packed(&json!({"resourceType": "Observation", "id": "1", "subject": {"reference": subject}}).to_string())
}

#[tokio::test]
async fn what_an_ehr_packs_is_read_and_rewritten() {
    let setup = Setup::in_front_of(ehr(|base| observation(base, "1")).await, |world| world).await;
    let token = setup.token_at("epic").await;
    let answer = setup.get("/epic/fhir/Observation/1", &token).await;
    assert_eq!(answer.status, 200);
    assert_eq!((answer.header("content-encoding"), answer.header("content-length")), (None, None));
    assert_eq!(answer.header("etag"), Some("W/\"1\""));
    let subject = "https://gate.example.org/default/epic/fhir/Patient/1";
    assert_eq!(answer.json()["subject"]["reference"], subject);
    let bearer = format!("Bearer {token}");
    let head = setup.ask("HEAD", "/epic/fhir/Observation/1", &[("authorization", &bearer)], "").await;
    assert_eq!((head.status, head.header("content-encoding"), head.body.len()), (200, None, 0));
    let private = setup.get("/epic/api/schedule", &token).await;
    assert_eq!((private.status, private.json()["id"].as_str()), (200, Some("1")));
}

#[tokio::test]
async fn what_an_ehr_packs_is_judged_by_narrowed_scopes() {
    for (patient, status) in [("1", 200), ("2", 404)] {
        let ehr = ehr(move |base| observation(base, patient)).await;
        let setup =
            Setup::in_front_of(ehr, |world| world.set("App", "mobile", "scopes", json!(["patient/*.rs"]))).await;
        let token = token_for(&setup, "patient/*.rs", Some("1")).await;
        assert_eq!(setup.get("/epic/fhir/Observation/1", &token).await.status, status);
    }
}

#[tokio::test]
async fn a_bomb_or_a_damaged_answer_never_ends_well() {
    let bomb = packed(&format!(r#"{{"resourceType":"Bundle","x":"{}"}}"#, " ".repeat(32 << 20)));
    let mut cut_off = packed(&json!({"resourceType": "Bundle", "type": "searchset"}).to_string());
    cut_off.truncate(cut_off.len() - 4);
    for body in [bomb, cut_off] {
        let setup = Setup::in_front_of(ehr(move |_| body.clone()).await, |world| {
            world.set("App", "mobile", "scopes", json!(["patient/*.rs"]))
        })
        .await;
        let token = setup.token_at("epic").await;
        let request = Request::get("/default/epic/fhir/Observation?code=a")
            .header("host", "gate.example.org")
            .header("authorization", format!("Bearer {token}"))
            .body(Full::<Bytes>::default())
            .unwrap();
        let answer = setup.proxy.handle(request, IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
        assert_eq!(answer.status(), 200, "what came so far was good");
        assert!(answer.into_body().collect().await.is_err());
        let token = token_for(&setup, "patient/*.rs", Some("1")).await;
        let judged = setup.get("/epic/fhir/Observation", &token).await;
        assert_eq!(judged.refusal(), (502, "HG7045".into()));
    }
}
