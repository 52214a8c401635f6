//! The way back from the EHR.

use super::*;

/// A launch up to the EHR, and the parameters that it sends back.
async fn at_the_ehr(launches: &Launches, changes: &[(&str, Option<&str>)]) -> (Answer, String, String) {
    let sent_on = launches.authorize(changes).await;
    let location = sent_on.header("location").unwrap().to_owned();
    let code = launches.ehr.code(&location);
    (sent_on, code, EhrRequest::of(&location).get("state").to_owned())
}

/// What the app is told when the EHR's habits are changed.
async fn told_when(change: impl FnOnce(&mut ehr::Habits)) -> String {
    let launches = Launches::new().await;
    launches.ehr.change(change);
    let (sent_on, code, state) = at_the_ehr(&launches, &[]).await;
    told(&launches.come_back(&sent_on, &format!("code={code}&state={state}")).await)
}

#[tokio::test]
async fn a_state_is_good_once_and_in_one_browser() {
    let launches = Launches::new().await;
    let (sent_on, code, state) = at_the_ehr(&launches, &[]).await;
    let query = format!("code={code}&state={state}");
    let unknown = (400, "HG7092".to_owned());
    let path = format!("/epic/oauth2/callback?{query}");
    let cookie = sent_on.header("set-cookie").unwrap().split(';').next().unwrap();
    let (name, value) = cookie.split_once('=').unwrap();
    for cookies in [String::new(), format!("{name}=x"), format!("other={value}"), format!("{cookie}; {name}=x")] {
        let answer = launches.setup.ask("GET", &path, &[("cookie", &cookies)], "").await;
        assert_eq!(on_page(&answer), unknown, "{cookies}");
    }
    let back = launches.come_back(&sent_on, &query).await;
    assert_eq!(back.status, 303);
    assert!(back.header("set-cookie").unwrap().starts_with(&format!("{name}=; Max-Age=0; Path=/; Secure")));
    assert_eq!(on_page(&launches.come_back(&sent_on, &query).await), unknown);
    for query in ["code=a&state=unknown", "error=access_denied&state=unknown"] {
        assert_eq!(on_page(&launches.come_back(&sent_on, query).await), unknown, "{query}");
    }
    for query in ["", "code=a", "state=b", "code=a&code=b&state=c"] {
        assert_eq!(on_page(&launches.come_back(&sent_on, query).await), (400, "HG7091".to_owned()), "{query}");
    }
    assert_eq!(launches.ehr.given(), 1);
}

#[tokio::test]
async fn the_ehrs_errors_reach_the_app() {
    let launches = Launches::new().await;
    for (error, expected) in [
        ("access_denied", "access_denied"),
        ("temporarily_unavailable", "temporarily_unavailable"),
        ("invalid_scope", "invalid_scope"),
        ("unauthorized_client", "server_error"),
        ("invalid_request", "server_error"),
        ("%3Cscript%3E", "server_error"),
    ] {
        let (sent_on, _, state) = at_the_ehr(&launches, &[]).await;
        let back = launches.come_back(&sent_on, &format!("error={error}&state={state}&error_description=x")).await;
        assert_eq!(told(&back), expected);
        assert_eq!(EhrRequest::of(back.header("location").unwrap()).get("state"), "s t+a/t=e");
    }
    assert_eq!(launches.ehr.given(), 0);
}

#[tokio::test]
async fn another_issuer_than_the_ehrs_is_refused() {
    let launches = Launches::new().await;
    let (sent_on, code, state) = at_the_ehr(&launches, &[]).await;
    let query = format!("code={code}&state={state}&iss=https%3A%2F%2Fattacker.example");
    assert_eq!(told(&launches.come_back(&sent_on, &query).await), "server_error");
    let (sent_on, code, state) = at_the_ehr(&launches, &[]).await;
    let issuer: String = form_urlencoded::byte_serialize(launches.setup.ehr.url.as_bytes()).collect();
    let back = launches.come_back(&sent_on, &format!("code={code}&state={state}&iss={issuer}")).await;
    assert_eq!(EhrRequest::of(back.header("location").unwrap()).0.get("error"), None);
}

#[tokio::test]
async fn an_id_token_that_is_not_good_ends_the_launch() {
    for claims in [
        json!({ "nonce": "another" }),
        json!({ "nonce": null }),
        json!({ "aud": "another" }),
        json!({ "aud": [EHR_CLIENT, "another"] }),
        json!({ "iss": "https://attacker.example" }),
        json!({ "exp": 1 }),
        json!({ "iat": 9_999_999_999_i64 }),
        json!({ "sub": "" }),
        json!({ "sub": null }),
    ] {
        assert_eq!(told_when(|habits| habits.id_token = claims.clone()).await, "server_error", "{claims}");
    }
    assert_eq!(told_when(|habits| habits.signs_wrongly = true).await, "server_error");
    let without = json!({ "id_token": null });
    assert_eq!(told_when(|habits| habits.context = without).await, "server_error");
    assert_eq!(told_when(|habits| habits.is_away = true).await, "temporarily_unavailable");
}

#[tokio::test]
async fn the_app_gets_what_it_asked_for_and_the_ehr_granted() {
    for (context, scope, members) in [
        (
            json!({ "scope": "patient/Patient.read openid" }),
            "patient/Patient.rs openid fhirUser launch/patient offline_access",
            true,
        ),
        (
            json!({ "scope": "Patient.Read", "id_token": null }),
            "patient/Patient.rs launch/patient offline_access",
            true,
        ),
        // Without a patient in context no scope on one.
        (json!({ "patient": null }), "openid fhirUser offline_access", false),
        (json!({ "patient": "a/../b" }), "openid fhirUser offline_access", false),
        (json!({ "refresh_token": null }), "patient/Patient.rs openid fhirUser launch/patient", true),
    ] {
        let launches = Launches::new().await;
        launches.ehr.change(|habits| {
            for (name, value) in context.as_object().unwrap() {
                habits.context[name] = value.clone();
            }
        });
        let tokens = launches.tokens(&[]).await;
        assert_eq!((tokens["scope"].as_str().unwrap(), tokens.get("patient").is_some()), (scope, members), "{context}");
        assert_eq!(tokens.get("id_token").is_some(), scope.contains("openid"));
        assert_eq!(tokens.get("refresh_token").is_some(), scope.contains("offline_access"));
    }
}

#[tokio::test]
async fn context_is_told_to_apps_that_asked_for_it() {
    let launches = Launches::new().await;
    launches.ehr.change(|habits| {
        habits.context["fhirContext"] = json!([{ "reference": "ImagingStudy/1" }]);
    });
    let tokens = launches.tokens(&[("scope", Some("launch/patient launch/encounter patient/Patient.rs"))]).await;
    let told: BTreeMap<&str, &Value> =
        tokens.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value)).collect();
    assert_eq!(
        told.keys().copied().collect::<Vec<_>>(),
        [
            "access_token",
            "encounter",
            "expires_in",
            "fhirContext",
            "intent",
            "need_patient_banner",
            "patient",
            "scope",
            "smart_style_url",
            "tenant",
            "token_type"
        ]
    );
    assert_eq!((told["encounter"], told["need_patient_banner"]), (&json!("e-1"), &json!(true)));
    let tokens = launches.tokens(&[("scope", Some("user/Patient.rs"))]).await;
    assert_eq!((tokens.get("patient"), tokens.get("tenant")), (None, None));
}

#[tokio::test]
async fn users_have_one_name_at_a_gateway_and_it_is_not_the_ehrs() {
    let launches = Launches::new().await;
    let sub = |tokens: Value| claims(&tokens["id_token"])["sub"].as_str().unwrap().to_owned();
    let first = sub(launches.tokens(&[]).await);
    assert_eq!(first, sub(launches.tokens(&[]).await));
    assert!(!first.contains("dr-who"));
    launches.ehr.change(|habits| habits.id_token = json!({ "sub": "another" }));
    assert_ne!(first, sub(launches.tokens(&[]).await));
    // Somewhere else than below the EHR's base nobody can be read.
    launches.ehr.change(|habits| habits.id_token = json!({ "fhirUser": "https://elsewhere.example/Practitioner/1" }));
    assert_eq!(claims(&launches.tokens(&[]).await["id_token"]).get("fhirUser"), None);
    launches.ehr.change(|habits| habits.id_token = json!({ "fhirUser": "Patient/7" }));
    assert_eq!(claims(&launches.tokens(&[]).await["id_token"])["fhirUser"], format!("{FHIR}/Patient/7"));
}

#[tokio::test]
async fn what_changed_while_the_user_logged_in_counts() {
    let launches = Launches::new().await;
    let come_back = async |edit: fn(World) -> World| {
        launches.publish(|world| world);
        let (sent_on, code, state) = at_the_ehr(&launches, &[]).await;
        launches.publish(edit);
        launches.come_back(&sent_on, &format!("code={code}&state={state}")).await
    };
    let suspended = come_back(|world| world.set("Activation", "mobile-epic", "suspend", true.into())).await;
    assert_eq!(told(&suspended), "unauthorized_client");
    let gone = come_back(|world| world.without("Activation", "mobile-epic")).await;
    assert_eq!(told(&gone), "unauthorized_client");
    let elsewhere = json!(["https://mobile.example.org/another"]);
    let moved =
        come_back(|world| world.set("App", "mobile", "redirectUris", json!(["https://mobile.example.org/another"])))
            .await;
    assert_eq!(on_page(&moved), (400, "HG7090".to_owned()), "{elsewhere}");
    let narrowed = come_back(|world| world.set("App", "mobile", "scopes", json!(["user/Observation.r"]))).await;
    assert_eq!(told(&narrowed), "invalid_scope");
}
