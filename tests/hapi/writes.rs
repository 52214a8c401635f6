//! Changes of a backend service: HAPI's own versions, conditions, batches and transactions, with the gateway's places.

use reqwest::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};

use crate::clinic::{Clinic, PATIENT};
use crate::support::standalone::Answer;

const JSON: &str = "application/fhir+json";

impl Clinic {
    /// Sends a resource.
    pub async fn write(&self, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        self.write_with(token, method, path, body, &[]).await
    }

    /// The same with more headers.
    pub async fn write_with(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = self.request(method, path, token).header("content-type", JSON).body(body.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request).await
    }
}

fn header<'answer>(answer: &'answer Answer, name: &str) -> &'answer str {
    answer.headers.get(name).unwrap_or_else(|| panic!("no {name}: {answer:?}")).to_str().unwrap()
}

/// An observation of a patient, with an identifier that no other has.
pub fn observation(patient: &str, identifier: &str) -> Value {
    json!({
        "resourceType": "Observation", "status": "final", "subject": {"reference": format!("Patient/{patient}")},
        "identifier": [{"system": "urn:tests", "value": identifier}],
        "category": [{"coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs",
        }]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "valueQuantity": {"value": 61, "unit": "/min"},
    })
}

/// `Observation/17`, out of the `Location` of what was made.
fn place(clinic: &Clinic, answer: &Answer) -> String {
    let location = header(answer, "location");
    let place = location.strip_prefix(&clinic.base()).unwrap_or_else(|| panic!("{location}"));
    place.split("/_history").next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_lives_through_all_its_versions() {
    let clinic = Clinic::open().await;
    let token = clinic.service("system/Observation.cruds").await;
    let created = clinic.write(&token, "POST", "/Observation", &observation("patient-3", "life")).await;
    assert_eq!((created.status, header(&created, "etag")), (StatusCode::CREATED, "W/\"1\""), "{}", created.text);
    let place = place(&clinic, &created);
    assert_eq!(header(&created, "location"), format!("{}{place}/_history/1", clinic.base()));

    let mut changed = created.json();
    assert_eq!(changed["id"].as_str(), place.strip_prefix("/Observation/"));
    changed["valueQuantity"]["value"] = json!(62);
    let stale = clinic.write_with(&token, "PUT", &place, &changed, &[("if-match", "W/\"7\"")]).await;
    // HAPI's word for it, where FHIR R4 has 412.
    assert_eq!(stale.status, StatusCode::CONFLICT, "{}", stale.text);
    let updated = clinic.write_with(&token, "PUT", &place, &changed, &[("if-match", "W/\"1\"")]).await;
    assert_eq!((updated.status, header(&updated, "etag")), (StatusCode::OK, "W/\"2\""), "{}", updated.text);
    let patch = json!([{"op": "replace", "path": "/valueQuantity/value", "value": 63}]);
    let request = clinic.request("PATCH", &place, &token).header("content-type", "application/json-patch+json");
    let patched = clinic.send(request.body(patch.to_string())).await;
    assert_eq!((patched.status, patched.json()["valueQuantity"]["value"].clone()), (StatusCode::OK, json!(63)));

    let fresh = clinic.request("GET", &place, &token).header("if-none-match", "W/\"3\"");
    assert_eq!(clinic.send(fresh).await.status, StatusCode::NOT_MODIFIED);
    let head = clinic.send(clinic.request("HEAD", &place, &token)).await;
    assert_eq!((head.status, head.text.as_str(), header(&head, "etag")), (StatusCode::OK, "", "W/\"3\""));
    let values = |bundle: &Value| -> Vec<Value> {
        let entries = bundle["entry"].as_array().unwrap();
        entries.iter().map(|entry| entry["resource"]["valueQuantity"]["value"].clone()).collect()
    };
    let history = clinic.get(&token, &format!("{place}/_history")).await.json();
    assert_eq!((history["total"].clone(), values(&history)), (json!(3), vec![json!(63), json!(62), json!(61)]));
    let first = clinic.get(&token, &format!("{place}/_history/1")).await;
    assert_eq!(first.json()["valueQuantity"]["value"], json!(61));

    let deleted = clinic.send(clinic.request("DELETE", &place, &token)).await;
    assert_eq!(deleted.status, StatusCode::OK, "{}", deleted.text);
    assert_eq!(clinic.get(&token, &place).await.status, StatusCode::GONE);
    assert_eq!(clinic.hapi.get(&place).await.status, StatusCode::GONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_decide_what_a_change_does() {
    let clinic = Clinic::open().await;
    let token = clinic.service("system/Observation.cruds").await;
    let body = observation("patient-4", "conditional");
    let criteria = "identifier=urn:tests|conditional";
    let once = [("if-none-exist", criteria)];
    let first = clinic.write_with(&token, "POST", "/Observation", &body, &once).await;
    let second = clinic.write_with(&token, "POST", "/Observation", &body, &once).await;
    assert_eq!((first.status, second.status), (StatusCode::CREATED, StatusCode::OK), "{}", second.text);
    assert_eq!(place(&clinic, &first), place(&clinic, &second));

    let mut changed = body.clone();
    changed["status"] = json!("amended");
    let path = format!("/Observation?{}", criteria.replace('|', "%7C"));
    let updated = clinic.write(&token, "PUT", &path, &changed).await;
    assert_eq!((updated.status, header(&updated, "etag")), (StatusCode::OK, "W/\"2\""), "{}", updated.text);
    assert_eq!(clinic.send(clinic.request("DELETE", &path, &token)).await.status, StatusCode::OK);
    assert_eq!(clinic.hapi.get(&path).await.json()["total"], json!(0));

    // Each permission that a condition needs is asked for.
    for scope in ["system/Observation.cud", "system/Observation.crds"] {
        let token = clinic.service(scope).await;
        let refused = clinic.write(&token, "PUT", &path, &changed).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{scope}: {}", refused.text);
    }
    assert_eq!(clinic.hapi.get(&path).await.json()["total"], json!(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_preferred_is_what_comes_back() {
    let clinic = Clinic::open().await;
    let token = clinic.service("system/Observation.cruds").await;
    let body = observation("patient-5", "preferred");
    for (preference, expected) in [
        ("return=minimal", Value::Null),
        ("return=representation", json!("Observation")),
        ("return=OperationOutcome", json!("OperationOutcome")),
    ] {
        let answer = clinic.write_with(&token, "POST", "/Observation", &body, &[("prefer", preference)]).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let told: Value = serde_json::from_str(&answer.text).unwrap_or_default();
        assert_eq!(told["resourceType"], expected, "{preference}");
    }
}

fn batch(kind: &str, entries: &[Value]) -> Value {
    json!({"resourceType": "Bundle", "type": kind, "entry": entries})
}

fn asks(method: &str, url: &str) -> Value {
    json!({"request": {"method": method, "url": url}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_answered_entry_by_entry() {
    let clinic = Clinic::open().await;
    let token = clinic.service("system/*.cruds").await;
    let entries = [
        asks("GET", "Patient/patient-8"),
        asks("GET", "Observation?subject=Patient/patient-8&_count=3"),
        json!({"request": {"method": "POST", "url": "Observation"}, "resource": observation("patient-8", "batch")}),
        asks("GET", "Patient/nobody"),
    ];
    let answer = clinic.write(&token, "POST", "", &batch("batch", &entries)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let answered = answer.json();
    let statuses: Vec<&str> = answered["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["response"]["status"].as_str().unwrap().split(' ').next().unwrap())
        .collect();
    assert_eq!(statuses, ["200", "200", "201", "404"]);
    assert_eq!(answered["entry"][0]["resource"]["id"], json!("patient-8"));
    let found = &answered["entry"][1]["resource"];
    assert_eq!((found["type"].clone(), found["entry"].as_array().map(Vec::len)), (json!("searchset"), Some(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_all_or_nothing() {
    let clinic = Clinic::open().await;
    let token = clinic.service("system/*.cruds").await;
    let entries = |identifier: &str, last: Value| {
        let encounter = json!({
            "resourceType": "Encounter", "status": "planned", "subject": {"reference": "Patient/patient-9"},
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        });
        let mut observation = observation("patient-9", identifier);
        observation["encounter"] = json!({"reference": "urn:uuid:8f1e9b0e-4d5f-4d0a-9a52-0f7a4c1c2d3e"});
        [
            json!({"fullUrl": "urn:uuid:8f1e9b0e-4d5f-4d0a-9a52-0f7a4c1c2d3e", "resource": encounter,
                "request": {"method": "POST", "url": "Encounter"}}),
            json!({"resource": observation, "request": {"method": "POST", "url": "Observation"}}),
            last,
        ]
    };
    let good = entries("whole", asks("GET", "Patient/patient-9"));
    let answer = clinic.write(&token, "POST", "", &batch("transaction", &good)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let of = "/Observation?identifier=urn:tests%7Cwhole&_include=Observation:encounter";
    let made = clinic.hapi.find_all(of).await;
    assert_eq!(made.iter().map(|one| one["resourceType"].clone()).collect::<Vec<_>>(), ["Observation", "Encounter"]);

    // Encounters name the practitioner, who therefore stays.
    let broken = entries("broken", asks("DELETE", "Practitioner/practitioner-1"));
    let answer = clinic.write(&token, "POST", "", &batch("transaction", &broken)).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.text);
    assert_eq!(clinic.hapi.get("/Observation?identifier=urn:tests%7Cbroken").await.json()["total"], json!(0));

    // One entry that may not pass, and HAPI hears of none.
    let narrower = clinic.service("system/Observation.cruds system/Encounter.cruds").await;
    let refused = entries("refused", asks("GET", "Patient/patient-9"));
    let answer = clinic.write(&narrower, "POST", "", &batch("transaction", &refused)).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
    assert_eq!(clinic.hapi.get("/Observation?identifier=urn:tests%7Crefused").await.json()["total"], json!(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patients_app_writes_the_patients_own_records_alone() {
    let clinic = Clinic::open().await;
    let token = clinic.patient("patient/Observation.cruds").await;
    let own = clinic.write(&token, "POST", "/Observation", &observation(PATIENT, "own")).await;
    assert_eq!(own.status, StatusCode::CREATED, "{}", own.text);
    let place = place(&clinic, &own);
    let foreign = clinic.write(&token, "POST", "/Observation", &observation("patient-3", "foreign")).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN, "{}", foreign.text);
    assert_eq!(clinic.hapi.get("/Observation?identifier=urn:tests%7Cforeign").await.json()["total"], json!(0));

    let mut changed = own.json();
    changed["status"] = json!("amended");
    let updated = clinic.write(&token, "PUT", &place, &changed).await;
    assert_eq!((updated.status, header(&updated, "etag")), (StatusCode::OK, "W/\"2\""), "{}", updated.text);
    // Away to another patient it cannot go, nor can another's come.
    changed["subject"] = json!({"reference": "Patient/patient-3"});
    assert_eq!(clinic.write(&token, "PUT", &place, &changed).await.status, StatusCode::FORBIDDEN);
    let mut theirs = clinic.hapi.get("/Observation/observation-3-0").await.json();
    theirs["subject"] = json!({"reference": format!("Patient/{PATIENT}")});
    let stolen = clinic.write(&token, "PUT", "/Observation/observation-3-0", &theirs).await;
    assert_eq!(stolen.status, StatusCode::NOT_FOUND, "{}", stolen.text);
    let delete = async |path: &str| clinic.send(clinic.request("DELETE", path, &token)).await.status;
    assert_eq!(delete("/Observation/observation-3-0").await, StatusCode::NOT_FOUND);
    assert_eq!(delete("/Observation/no-such-thing").await, StatusCode::NOT_FOUND);
    let untouched = clinic.hapi.get("/Observation/observation-3-0").await.json();
    assert_eq!(untouched["subject"]["reference"], json!("Patient/patient-3"));
    assert_eq!(delete(&place).await, StatusCode::OK);
    assert_eq!(clinic.hapi.get(&place).await.status, StatusCode::GONE);

    // What is there once already is found for the patient only.
    let criteria = [("if-none-exist", "code=http://loinc.org|8867-4&identifier=urn:tests|once")];
    let theirs = clinic.service("system/Observation.cruds").await;
    let first = clinic.write_with(&theirs, "POST", "/Observation", &observation("patient-3", "once"), &criteria).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    let second = clinic.write_with(&token, "POST", "/Observation", &observation(PATIENT, "once"), &criteria).await;
    assert_eq!(second.status, StatusCode::CREATED, "{}", second.text);
}

/// However another patient is written, and whatever else of it is ours.
#[rstest]
#[case(json!({"reference": "Patient/patient-3"}))]
#[case(json!({"reference": "Patient?identifier=urn:oid:1.2.36.146.595.217.0.1|203703"}))]
#[case(json!({"reference": "{base}/Patient/patient-3"}))]
#[case(json!({"reference": "{BASE}/Patient/patient-3"}))]
#[case(json!({"reference": "{tls}/Patient/patient-3"}))]
#[case(json!({"reference": "Patient/patient-3/"}))]
#[case(json!({"reference": "/Patient/patient-3"}))]
#[case(json!({"reference": "Patient/patient-3/_history/1"}))]
#[case(json!({"reference": " Patient/patient-3"}))]
#[case(json!({"identifier": {"system": "urn:oid:1.2.36.146.595.217.0.1", "value": "203703"}}))]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_into_anothers_chart_by_whoever_made_it(#[case] subject: Value) {
    let clinic = Clinic::open().await;
    let token = clinic.patient("patient/Observation.cruds").await;
    let base = clinic.hapi.base();
    let subject = subject
        .to_string()
        .replace("{base}", &base)
        .replace("{BASE}", &base.replace("http:", "HTTP:"))
        .replace("{tls}", &base.replace("http:", "https:"));
    let mut body = observation(PATIENT, "made");
    body["subject"] = subject.parse().unwrap();
    body["performer"] = json!([{"reference": format!("Patient/{PATIENT}")}]);
    let alone = clinic.write(&token, "POST", "/Observation", &body).await;
    let entry = json!({"request": {"method": "POST", "url": "Observation"}, "resource": body});
    let in_a_batch = clinic.write(&token, "POST", "", &batch("batch", &[entry])).await;
    for refused in [alone, in_a_batch] {
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    }
    assert_eq!(clinic.hapi.get("/Observation?identifier=urn:tests%7Cmade").await.json()["total"], json!(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patients_batch_tells_nothing_of_other_patients() {
    let clinic = Clinic::open().await;
    let token = clinic.patient("patient/*.cruds").await;
    let entries = [
        asks("GET", "Observation/observation-0-0"),
        asks("GET", "Observation/observation-3-0"),
        asks("GET", "Observation/no-such-thing"),
        asks("GET", &format!("Observation?patient={PATIENT}&_count=5")),
        json!({"request": {"method": "POST", "url": "Observation"}, "resource": observation(PATIENT, "in-a-batch")}),
        asks("GET", &format!("Patient/{PATIENT}")),
    ];
    let answer = clinic.write(&token, "POST", "", &batch("batch", &entries)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let entry = |index: usize| answer.json()["entry"][index].clone();
    let status = |index: usize| entry(index)["response"]["status"].as_str().unwrap()[..3].to_owned();
    assert_eq!([0, 1, 2, 3, 4, 5].map(status), ["200", "404", "404", "200", "201", "200"]);
    assert_eq!(entry(0)["resource"]["subject"]["reference"], json!(format!("Patient/{PATIENT}")));
    assert_eq!(entry(1), entry(2));
    assert_eq!(entry(1)["response"]["outcome"]["issue"][0]["details"]["coding"][0]["code"], json!("HG7054"));
    assert_eq!(entry(3)["resource"]["entry"].as_array().map(Vec::len), Some(5));
    assert_eq!(clinic.hapi.get("/Observation?identifier=urn:tests%7Cin-a-batch").await.json()["total"], json!(1));

    // A transaction would fail with what is not there, and not with what is another's.
    let entries = [asks("GET", "Observation/observation-3-0")];
    let refused = clinic.write(&token, "POST", "", &batch("transaction", &entries)).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
}
