//! Introspection and revocation.

use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::*;
use crate::protocol::jwt::{self, Session, Subject};
use crate::snapshot::ObjectKey;
use crate::store::{FamilyId, Kind, Records};
use crate::values::scope::ScopeSet;

const INACTIVE: &[u8] = br#"{"active":false}"#;

async fn setup() -> Setup {
    Setup::with(|world| world).await
}

async fn introspect(setup: &Setup, headers: &[(&str, &str)], token: &str) -> Answer {
    let mut headers = headers.to_vec();
    headers.push(FORM);
    setup.ask("POST", "/epic/oauth2/introspect", &headers, &format!("token={token}")).await
}

async fn introspect_as_client(setup: &Setup, token: &str) -> Answer {
    introspect(setup, &[basic(CLIENT_ID, SECRET).as_header()], token).await
}

async fn revoke(setup: &Setup, header: Option<Basic>, body: &str) -> Answer {
    let mut headers = vec![FORM];
    headers.extend(header.as_ref().map(Basic::as_header));
    setup.ask("POST", "/epic/oauth2/revoke", &headers, body).await
}

impl Setup {
    fn records(&self) -> Records {
        let snapshot = self.snapshot.load_full().unwrap();
        self.proxy.records(&snapshot.gateways[&ObjectKey::new("default", "epic")]).unwrap()
    }

    /// A session of a user of an activation, as the grants with a user leave it behind: an access token, a refresh token.
    async fn session(&self, activation: &str, scopes: &str) -> (String, String) {
        let snapshot = self.snapshot.load_full().unwrap();
        let activation = &snapshot.activations[&ObjectKey::new("default", activation)];
        let (records, now) = (self.records(), Timestamp::now());
        let until = now + jiff::SignedDuration::from_hours(1);
        let id = FamilyId::random().unwrap();
        let session = json!({"activation": activation.uid, "user": {"sub": "user-1", "fhir_user": "https://gate.example.org/default/epic/fhir/Practitioner/7"},
            "context": {"patient": "p-1", "need_patient_banner": true}, "ehr": {}});
        records.put(Kind::Session, &id.to_string(), &session, until, now).await.unwrap();
        let grant = json!({"activation": activation.uid, "client_id": activation.app.client_id, "scope": scopes});
        let refresh = records.start_family(id, &grant, until, now).await.unwrap().unwrap();
        let subject = Subject::User {
            sub: "user-1".into(),
            session: Session { id: id.to_string(), patient: Some("p-1".into()) },
        };
        let scopes = ScopeSet::parse(scopes).unwrap();
        let access = jwt::issue(activation, subject, &scopes, now, &uuid::Uuid::new_v4().to_string()).unwrap();
        (access.token.expose_secret().to_owned(), refresh.expose_secret().to_owned())
    }
}

#[tokio::test]
async fn a_good_token_is_told_of_with_what_it_is_worth_now() {
    let setup = setup().await;
    let token = setup.token_at("epic").await;
    let answer = introspect_as_client(&setup, &token).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let mut json = answer.json();
    let issued = json["iat"].take().as_i64().unwrap();
    assert_eq!(json["exp"].take().as_i64().unwrap() - issued, 300);
    assert_eq!(json["jti"].take().as_str().unwrap().len(), 36);
    assert_eq!(
        json,
        json!({
            "active": true, "token_type": "Bearer", "client_id": CLIENT_ID, "sub": CLIENT_ID,
            "scope": "system/Appointment.cruds system/Observation.read system/Patient.rs private-api",
            "iss": "https://gate.example.org/default/epic", "aud": "https://gate.example.org/default/epic/fhir",
            "iat": null, "exp": null, "jti": null,
        })
    );
    // A ceiling that came down meanwhile takes from the token, and is told.
    setup.publish(|world| world.set("Activation", "sync-epic", "scopes", json!(["system/Patient.r"])));
    assert_eq!(introspect_as_client(&setup, &token).await.json()["scope"], "system/Patient.r");
}

#[tokio::test]
async fn a_users_token_is_told_of_with_its_launch_context() {
    let scopes = json!(["openid", "fhirUser", "patient/Patient.rs"]);
    let setup = Setup::with(|world| world.set("App", "mobile", "scopes", scopes)).await;
    let (access, refresh) = setup.session("mobile-epic", "patient/Patient.rs openid fhirUser").await;
    let json = introspect_as_client(&setup, &access).await.json();
    let told = |name: &str| json[name].clone();
    assert_eq!(
        (told("active"), told("patient"), told("need_patient_banner"), told("sub"), told("fhirUser")),
        (
            json!(true),
            json!("p-1"),
            json!(true),
            json!("user-1"),
            json!("https://gate.example.org/default/epic/fhir/Practitioner/7")
        )
    );
    let mut json = introspect_as_client(&setup, &refresh).await.json();
    assert!(json["exp"].take().as_i64().unwrap() > Timestamp::now().as_second() + 3500);
    assert_eq!(
        json,
        json!({"active": true, "client_id": "mobile-client", "scope": "patient/Patient.rs openid fhirUser", "exp": null})
    );
}

#[tokio::test]
async fn whatever_is_not_good_here_and_now_is_inactive_and_nothing_more() {
    let setup = setup().await;
    let token = setup.token_at("epic").await;
    let elsewhere = setup.token_at("plain").await;
    let (access, refresh) = setup.session("mobile-epic", "patient/Patient.rs").await;
    for unknown in ["x", "hgr_AAAA", &elsewhere, &format!("{token}x"), &token[..token.len() - 4]] {
        let answer = introspect_as_client(&setup, unknown).await;
        assert_eq!((answer.status, answer.body.as_ref()), (200, INACTIVE), "{unknown}");
    }
    let inactive_in = async |edit: fn(World) -> World, token: &str, with: (&str, &str)| {
        setup.publish(edit);
        let answer = introspect(&setup, &[with], token).await;
        assert_eq!((answer.status, answer.body.as_ref()), (200, INACTIVE));
    };
    let own = basic(CLIENT_ID, SECRET);
    inactive_in(|world| world.set("Activation", "mobile-epic", "suspend", true.into()), &access, own.as_header()).await;
    inactive_in(|world| world.set("App", "mobile", "suspend", true.into()), &refresh, own.as_header()).await;
    inactive_in(|world| world.without("Activation", "mobile-epic"), &refresh, own.as_header()).await;
    setup.publish(|world| world);
    assert_eq!(introspect_as_client(&setup, &refresh).await.json()["active"], true);
}

#[tokio::test]
async fn only_who_proves_who_he_is_may_ask() {
    let setup = setup().await;
    let token = setup.token_at("epic").await;
    let ask = async |headers: &[(&str, &str)], body: &str| {
        let mut headers = headers.to_vec();
        headers.push(FORM);
        let answer = setup.ask("POST", "/epic/oauth2/introspect", &headers, body).await;
        (answer.status, answer.header("www-authenticate").map(str::to_owned), answer.json()["error"].clone())
    };
    let with_token = format!("token={token}");
    let challenge = Some("Basic realm=\"https://gate.example.org/default/epic/oauth2/token\"".to_owned());
    let (wrong, good) = (basic(CLIENT_ID, "wrong"), basic(CLIENT_ID, SECRET));
    assert_eq!(ask(&[], &with_token).await, (401, challenge.clone(), json!("invalid_client")));
    assert_eq!(ask(&[wrong.as_header()], &with_token).await, (401, challenge.clone(), json!("invalid_client")));
    let public = format!("{with_token}&client_id=mobile-client");
    assert_eq!(ask(&[], &public).await, (401, challenge, json!("invalid_client")));
    let stranger = basic("stranger-client", SECRET);
    assert_eq!(ask(&[stranger.as_header()], &with_token).await, (400, None, json!("unauthorized_client")));
    assert_eq!(ask(&[good.as_header()], "").await, (400, None, json!("invalid_request")));
    assert_eq!(ask(&[good.as_header()], "token=a&token=b").await, (400, None, json!("invalid_request")));
    let (status, challenge, _) = ask(&[("authorization", "Bearer nonsense")], &with_token).await;
    let expected = "Bearer realm=\"https://gate.example.org/default/epic/fhir\", error=\"invalid_token\"";
    assert_eq!((status, challenge.as_deref()), (401, Some(expected)));
    let bearer = format!("Bearer {token}");
    let both = format!("{with_token}&client_id={CLIENT_ID}&client_secret=x");
    assert_eq!(ask(&[("authorization", &bearer)], &both).await.0, 400);
    assert_eq!(setup.ask("GET", "/epic/oauth2/introspect", &[good.as_header()], "").await.status, 405);
}

#[tokio::test]
async fn a_bearer_token_asks_as_far_as_it_speaks() {
    let setup = setup().await;
    let of_app = setup.token_at("epic").await;
    let (of_user, refresh) = setup.session("mobile-epic", "patient/Patient.rs").await;
    let active = async |bearer: &str, token: &str| {
        let answer = introspect(&setup, &[("authorization", &format!("Bearer {bearer}"))], token).await;
        assert_eq!(answer.status, 200);
        answer.json()["active"].as_bool().unwrap()
    };
    assert!(active(&of_app, &of_app).await && active(&of_app, &of_user).await && active(&of_app, &refresh).await);
    assert!(active(&of_user, &of_user).await && active(&of_user, &refresh).await);
    assert!(!active(&of_user, &of_app).await, "it is another client's");
}

#[tokio::test]
async fn a_revoked_access_token_is_refused_and_inactive() {
    let setup = setup().await;
    let (token, other) = (setup.token_at("epic").await, setup.token_at("epic").await);
    let answer = revoke(&setup, Some(basic(CLIENT_ID, SECRET)), &format!("token={token}&token_type_hint=x")).await;
    assert_eq!(
        (answer.status, answer.body.as_ref(), answer.header("cache-control")),
        (200, &b""[..], Some("no-store"))
    );
    let refused = setup.get("/epic/fhir/Patient/1", &token).await;
    assert_eq!(refused.refusal(), (401, "HG7071".into()));
    assert_eq!(introspect_as_client(&setup, &token).await.body.as_ref(), INACTIVE);
    assert_eq!(setup.get("/epic/fhir/Patient/1", &other).await.status, 200, "the other one lives");
    // What is revoked, unknown or expired is as the client wants it to be.
    for token in [token.as_str(), "x", "hgr_AAAA"] {
        assert_eq!(revoke(&setup, Some(basic(CLIENT_ID, SECRET)), &format!("token={token}")).await.status, 200);
    }
}

#[tokio::test]
async fn a_revoked_refresh_token_takes_its_session_along() {
    let setup = setup().await;
    let (access, refresh) = setup.session("mobile-epic", "patient/Patient.rs").await;
    let (_, other) = setup.session("mobile-epic", "patient/Patient.rs").await;
    let body = format!("token={refresh}&client_id=mobile-client");
    assert_eq!(revoke(&setup, None, &body).await.status, 200);
    assert_eq!(setup.get("/epic/fhir/Patient/1", &access).await.refusal(), (401, "HG7071".into()));
    for token in [&access, &refresh] {
        assert_eq!(introspect_as_client(&setup, token).await.body.as_ref(), INACTIVE);
    }
    assert_eq!(introspect_as_client(&setup, &other).await.json()["active"], true);
    assert_eq!(revoke(&setup, None, &body).await.status, 200);
}

#[tokio::test]
async fn a_client_revokes_its_own_tokens_only() {
    let setup = setup().await;
    let token = setup.token_at("epic").await;
    let (access, refresh) = setup.session("mobile-epic", "patient/Patient.rs").await;
    let refused = async |header: Option<Basic>, body: &str| {
        let answer = revoke(&setup, header, body).await;
        (answer.status, answer.json()["error"].as_str().unwrap().to_owned())
    };
    let unauthorized = (400, "unauthorized_client".to_owned());
    assert_eq!(refused(None, &format!("token={token}&client_id=mobile-client")).await, unauthorized);
    for token in [&access, &refresh] {
        assert_eq!(refused(Some(basic(CLIENT_ID, SECRET)), &format!("token={token}")).await, unauthorized);
        assert_eq!(introspect_as_client(&setup, token).await.json()["active"], true);
    }
    let unknown = (401, "invalid_client".to_owned());
    assert_eq!(refused(None, &format!("token={token}")).await, unknown);
    assert_eq!(refused(Some(basic(CLIENT_ID, "wrong")), &format!("token={token}")).await, unknown);
    assert_eq!(refused(None, "client_id=mobile-client").await, (400, "invalid_request".into()));
    assert_eq!(setup.get("/epic/fhir/Patient/1", &token).await.status, 200);
    assert_eq!(setup.ask("GET", "/epic/oauth2/revoke", &[], "").await.status, 405);
}
