//! From the app's authorization request through the pages and back.

use super::user_support::*;
use super::*;
use crate::sandbox::{AUTHORIZE_PATH, DEMO_PASSWORD, FIRST_PATIENT, LAUNCHER_PATH, Verdict};

const SCOPE: &str = "openid fhirUser launch/patient patient/*.rs";

fn ehr() -> Ehr {
    ehr_with(Credential::Public)
}

#[tokio::test]
async fn staff_log_in_choose_a_patient_and_come_back_with_code_state_and_issuer() {
    let ehr = ehr();
    let login = ehr.authorize(&request(SCOPE)).await;
    assert_eq!(login.status, StatusCode::OK);
    assert!(login.text().contains("Growth &#60;Chart&#62; asks for access"), "{}", login.text());
    assert!(login.text().contains(DEMO_PASSWORD) && login.text().contains("anna.cadence"));
    let picker = ehr.log_in(&login, "anna.cadence").await;
    assert_eq!(picker.status, StatusCode::OK);
    assert!(picker.text().contains("Müller") && picker.text().contains(FIRST_PATIENT));
    let back = ehr.choose(&picker, "patient-10").await.sent_back();
    assert_eq!(back.keys().map(String::as_str).collect::<Vec<_>>(), ["code", "iss", "state"]);
    assert_eq!(
        (back["state"].as_str(), back["iss"].as_str()),
        ("state-with-122-bits", "http://ehr.test/interconnect/oauth2")
    );
    let answer = ehr.exchange(&back["code"]).await.json();
    assert_eq!(answer["patient"], "patient-10");
}

#[tokio::test]
async fn pages_run_no_script_load_nothing_foreign_and_are_not_kept() {
    let ehr = ehr();
    let login = ehr.authorize(&request(SCOPE)).await;
    let picker = ehr.log_in(&ehr.authorize(&request(SCOPE)).await, "anna.cadence").await;
    let refused = ehr.authorize(&[("client_id", "nobody")]).await;
    for page in [login, picker, refused, ehr.get(LAUNCHER_PATH).await] {
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(
            page.header("content-security-policy"),
            Some("default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'")
        );
        assert_eq!(
            (page.header("cache-control"), page.header("referrer-policy")),
            (Some("no-store"), Some("no-referrer"))
        );
        assert!(!page.text().contains("<script") && !page.text().contains("style="), "{}", page.text());
    }
}

#[tokio::test]
async fn patients_are_not_asked_whom_it_is_about() {
    let ehr = ehr();
    let back = ehr.log_in(&ehr.authorize(&request(SCOPE)).await, "derrick.lin").await.sent_back();
    assert_eq!(ehr.exchange(&back["code"]).await.json()["patient"], "eq081-VQEgP8drUUqCWzHfw3");
}

#[tokio::test]
async fn the_request_may_come_by_post() {
    let ehr = ehr();
    let post = |media_type: &str| {
        let post = Request::post(AUTHORIZE_PATH).header("content-type", media_type);
        post.body(Body::from(encoded(&request(SCOPE)))).unwrap()
    };
    let page = ehr.send(post("application/x-www-form-urlencoded")).await;
    assert_eq!(ehr.log_in(&page, "camila.lopez").await.sent_back()["state"], "state-with-122-bits");
    assert_eq!(ehr.send(post("application/json")).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn whoever_says_no_is_sent_back_without_a_code() {
    let ehr = ehr();
    let denied = [("error", "access_denied"), ("error_description", "the user said no")];
    let login = ehr.authorize(&request(SCOPE)).await;
    let form = [("interaction", login.interaction()), ("decision", "deny")];
    let at_login = ehr.submit(&format!("{AUTHORIZE_PATH}/login"), &form).await;
    let picker = ehr.log_in(&ehr.authorize(&request(SCOPE)).await, "anna.cadence").await;
    let form = [("interaction", picker.interaction()), ("decision", "deny")];
    let at_picker = ehr.submit(&format!("{AUTHORIZE_PATH}/patient"), &form).await;
    for answered in [at_login, at_picker] {
        let back = answered.sent_back();
        for (name, value) in denied {
            assert_eq!(back[name], value);
        }
        assert!(!back.contains_key("code") && back.contains_key("iss") && back["state"] == "state-with-122-bits");
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_on_the_page_and_kept_nowhere() {
    let ehr = ehr();
    let login = ehr.authorize(&request(SCOPE)).await;
    let form = [("interaction", login.interaction()), ("login", "anna.cadence"), ("password", "hunter2")];
    let again = ehr.submit(&format!("{AUTHORIZE_PATH}/login"), &form).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    assert!(again.text().contains("not known here") && again.text().contains(r#"value="anna.cadence""#));
    assert_eq!(ehr.last().reason.as_deref(), Some("login or password is wrong"));
    assert!(!serde_json::to_string(&ehr.log()).unwrap().contains("hunter2"));
    assert_eq!(ehr.log_in(&again, "anna.cadence").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_page_is_good_once() {
    let ehr = ehr();
    let login = ehr.authorize(&request(SCOPE)).await;
    let picker = ehr.log_in(&login, "anna.cadence").await;
    assert_eq!(ehr.log_in(&login, "anna.cadence").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(ehr.choose(&picker, FIRST_PATIENT).await.status, StatusCode::SEE_OTHER);
    assert_eq!(ehr.choose(&picker, FIRST_PATIENT).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn nobody_is_sent_to_an_address_that_is_not_registered() {
    let ehr = ehr();
    let twice = |name: &str| {
        let mut request = request(SCOPE);
        request.push((name.to_owned(), CALLBACK.to_owned()));
        request
    };
    let mut cases =
        vec![changed(request(SCOPE), "client_id", Some("nobody")), twice("client_id"), twice("redirect_uri")];
    let addresses = [
        None,
        Some("https://gateway.test/default/epic/oauth2/callback/"),
        Some("https://gateway.test/default/epic/oauth2/callback?a=b"),
        Some("https://gateway.test.evil.test/default/epic/oauth2/callback"),
        Some("HTTPS://gateway.test/default/epic/oauth2/callback"),
        Some("javascript:alert(1)"),
    ];
    cases.extend(addresses.map(|address| changed(request(SCOPE), "redirect_uri", address)));
    for case in cases {
        let answered = ehr.authorize(&case).await;
        assert_eq!((answered.status, answered.header("location")), (StatusCode::BAD_REQUEST, None), "{case:?}");
        assert_eq!(ehr.last().verdict, Verdict::Refused);
    }
    // A client that is not there for users has nowhere to be sent to.
    let backend = Ehr::new();
    backend.register(Credential::Jwks(RSA.jwks()));
    assert_eq!(backend.authorize(&request(SCOPE)).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_wrong_request_of_a_known_app_is_sent_back_with_the_reason() {
    let ehr = ehr();
    let aud = format!("aud is '', it must be this EHR's FHIR base '{}'", fhir_base());
    let cases: [(&str, Option<&str>, &str, &str); 12] = [
        ("response_type", Some("token"), "unsupported_response_type", "response_type is 'token', only code is known"),
        ("state", None, "invalid_request", "state is missing"),
        ("aud", None, "invalid_request", &aud),
        ("scope", None, "invalid_scope", "scope is missing"),
        ("scope", Some("system/*.rs nonsense"), "", ""),
        ("code_challenge", None, "invalid_request", "a public client must send code_challenge (RFC 7636)"),
        (
            "code_challenge_method",
            Some("plain"),
            "invalid_request",
            "code_challenge_method is 'plain', only S256 is known",
        ),
        ("code_challenge_method", None, "invalid_request", "code_challenge_method is '', only S256 is known"),
        (
            "code_challenge",
            Some("short"),
            "invalid_request",
            "code_challenge is not 43 characters of base64url, as S256 makes them",
        ),
        ("launch", Some("x"), "invalid_request", "the scope launch and the parameter launch belong together"),
        ("scope", Some("launch"), "invalid_request", "the scope launch and the parameter launch belong together"),
        ("prompt", Some("none"), "login_required", "prompt is none, and nobody is logged in"),
    ];
    for (name, value, error, description) in cases {
        let answered = ehr.authorize(&changed(request(SCOPE), name, value)).await;
        if error.is_empty() {
            // What can be granted is known only when it is known to whom.
            let back = ehr.log_in(&answered, "anna.cadence").await.sent_back();
            assert_eq!(back["error"], "invalid_scope");
            continue;
        }
        let back = answered.sent_back();
        assert_eq!((back["error"].as_str(), back["error_description"].as_str()), (error, description));
        assert_eq!(back.get("state").map(String::as_str), (name != "state").then_some("state-with-122-bits"));
    }
}

#[tokio::test]
async fn an_app_that_the_ehr_starts_is_told_who_and_whom_it_is_about() {
    let ehr = ehr();
    let started = ehr
        .submit(
            LAUNCHER_PATH,
            &[
                ("app", CLIENT),
                ("user", "priya.ramesh"),
                ("patient", FIRST_PATIENT),
                ("encounter", "yes"),
                ("intent", "reconcile-medications"),
            ],
        )
        .await;
    assert_eq!(started.status, StatusCode::SEE_OTHER);
    let location = started.header("location").unwrap();
    let (url, query) = location.split_once('?').unwrap();
    assert_eq!(url, LAUNCH_URL);
    let parameters: std::collections::BTreeMap<_, _> =
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    assert_eq!(parameters["iss"], fhir_base());

    let launch = |value: &str| changed(request("launch openid fhirUser patient/*.rs"), "launch", Some(value));
    // No page: whoever starts an app out of the EHR is logged in there.
    let back = ehr.authorize(&launch(&parameters["launch"])).await.sent_back();
    let mut answer = ehr.exchange(&back["code"]).await.json();
    for secret in ["access_token", "id_token"] {
        assert!(answer.as_object_mut().unwrap().remove(secret).is_some());
    }
    assert_eq!(
        answer,
        json!({
            "token_type": "Bearer",
            "expires_in": 3600,
            "scope": "launch openid fhirUser patient/*.rs",
            "patient": FIRST_PATIENT,
            "encounter": "encounter-1",
            "fhirContext": [{ "reference": "Appointment/appointment-13" }],
            "need_patient_banner": false,
            "intent": "reconcile-medications",
            "smart_style_url": "http://ehr.test/interconnect/smart-style.json",
            "tenant": "hearth-family-clinic",
        })
    );
    let again = ehr.authorize(&launch(&parameters["launch"])).await.sent_back();
    assert_eq!(again["error_description"], "the launch value is unknown, used up, expired, or another app's");
    assert_eq!(ehr.get("/interconnect/smart-style.json").await.json()["dim_font_size"], "16px");
}

#[tokio::test]
async fn launch_values_are_for_one_app_and_a_sensible_choice() {
    let ehr = ehr();
    let order = json!({ "clientId": CLIENT, "user": "anna.cadence", "patient": "patient-12" });
    let url = ehr.post_json("/sandbox/launches", &order).await.json()["url"].as_str().unwrap().to_owned();
    let value = url.rsplit_once("launch=").unwrap().1.to_owned();
    let other =
        Registration { redirect_uris: vec![CALLBACK.to_owned()], ..Registration::new("other", Credential::Public) };
    ehr.shared.registry.register(other).unwrap();
    let stolen = changed(changed(request("launch patient/*.rs"), "launch", Some(&value)), "client_id", Some("other"));
    assert_eq!(ehr.authorize(&stolen).await.sent_back()["error"], "invalid_request");
    let own = changed(request("launch patient/*.rs"), "launch", Some(&value));
    assert!(ehr.authorize(&own).await.sent_back().contains_key("code"));

    let refused = [
        (
            json!({ "clientId": "other", "user": "anna.cadence" }),
            r#"no app with a launch URL is registered with the client ID "other""#,
        ),
        (json!({ "clientId": CLIENT, "user": "nobody" }), r#"nobody has the login "nobody""#),
        (
            json!({ "clientId": CLIENT, "user": "derrick.lin", "patient": "patient-12" }),
            r#""patient-12" is no patient that this user may open"#,
        ),
        (
            json!({ "clientId": CLIENT, "user": "anna.cadence", "patient": "x" }),
            r#""x" is no patient that this user may open"#,
        ),
        (
            json!({ "clientId": CLIENT, "user": "anna.cadence", "patient": "patient-12", "encounter": true }),
            "there is no encounter to open: choose a patient who has had one",
        ),
    ];
    for (order, sentence) in refused {
        let answered = ehr.post_json("/sandbox/launches", &order).await;
        assert_eq!((answered.status.as_u16(), answered.json()), (400, json!({ "error": sentence })));
    }
}

#[tokio::test]
async fn a_test_can_have_the_way_back_spoiled() {
    let ehr = ehr();
    let fault = json!({ "authorizeParameters": { "iss": "https://evil.test", "state": null } });
    assert_eq!(ehr.post_json("/sandbox/faults", &fault).await.status, StatusCode::CREATED);
    let back = ehr.log_in(&ehr.authorize(&request(SCOPE)).await, "camila.lopez").await.sent_back();
    assert_eq!((back["iss"].as_str(), back.get("state")), ("https://evil.test", None));
    let back = ehr.log_in(&ehr.authorize(&request(SCOPE)).await, "camila.lopez").await.sent_back();
    assert_eq!(back["state"], "state-with-122-bits");
}
