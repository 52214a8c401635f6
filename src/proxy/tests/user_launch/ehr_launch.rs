//! Launches that begin in the EHR.

use super::*;

/// The EHR starts the app: our `launch`, as the app gets it.
async fn start(launches: &Launches, iss: &str, launch: &str) -> Answer {
    let query =
        form_urlencoded::Serializer::new(String::new()).extend_pairs([("iss", iss), ("launch", launch)]).finish();
    launches.setup.ask("GET", &format!("/epic/launch/mobile?{query}"), &[], "").await
}

#[tokio::test]
async fn the_ehr_starts_the_app_and_its_launch_comes_back_to_it() {
    let launches = Launches::new().await;
    for iss in ["/fhir", "/fhir/"] {
        let started = start(&launches, &format!("{}{iss}", launches.setup.ehr.url), "the ehr's launch").await;
        assert_eq!(started.status, 303, "{started:?}");
        let location = started.header("location").unwrap();
        assert!(location.starts_with("https://mobile.example.org/launch?from=ehr&iss="), "{location}");
        let request = EhrRequest::of(location);
        assert_eq!(request.get("iss"), FHIR);
        assert!(!request.get("launch").contains("ehr"));
        let changes = [("launch", Some(request.get("launch"))), ("scope", Some("launch patient/Patient.rs"))];
        let sent_on = launches.authorize(&changes).await;
        let asked = EhrRequest::of(sent_on.header("location").unwrap());
        assert_eq!((asked.get("launch"), asked.get("scope")), ("the ehr's launch", "patient/Patient.rs launch"));
        // A page that is reloaded asks again.
        let tokens = launches.tokens(&changes).await;
        assert_eq!((&tokens["scope"], &tokens["patient"]), (&json!("patient/Patient.rs launch"), &json!("p-1")));
        assert_eq!((&tokens["intent"], &tokens["encounter"]), (&json!("reconcile"), &json!("e-1")));
    }
}

#[tokio::test]
async fn a_launch_of_another_ehr_or_app_leads_nowhere() {
    let launches = Launches::new().await;
    let ehr = format!("{}/fhir", launches.setup.ehr.url);
    for iss in ["https://attacker.example/fhir", FHIR, "", &launches.setup.ehr.url] {
        assert_eq!(on_page(&start(&launches, iss, "a").await), (400, "HG7092".into()), "{iss}");
    }
    assert_eq!(on_page(&start(&launches, &ehr, "").await), (400, "HG7091".into()));
    assert_eq!(on_page(&start(&launches, &ehr, &"a".repeat(5000)).await), (400, "HG7091".into()));
    let twice = format!("/epic/launch/mobile?iss={ehr}&iss={ehr}&launch=a");
    assert_eq!(on_page(&launches.setup.ask("GET", &twice, &[], "").await), (400, "HG7091".into()));
    for app in ["nobody", "schedule-sync", "stranger"] {
        let path = format!("/epic/launch/{app}?iss={ehr}&launch=a");
        assert_eq!(on_page(&launches.setup.ask("GET", &path, &[], "").await), (404, "HG7024".into()), "{app}");
    }
    launches.publish(|world| world.set("App", "mobile", "suspend", true.into()));
    assert_eq!(on_page(&start(&launches, &ehr, "a").await), (403, "HG7006".into()));
}

#[tokio::test]
async fn a_launch_value_is_good_for_its_own_app() {
    let launches = Launches::with(|world| {
        world
            .and(json!({"kind": "App", "metadata": {"name": "other"}, "spec": {"clientType": "Public",
                "clientId": "another-client", "scopes": ["launch", "patient/Patient.rs"], "redirectUris": [REDIRECT_URI]}}))
            .and(json!({"kind": "Activation", "metadata": {"name": "other-epic"}, "spec": {
                "appRef": {"name": "other"}, "gatewayRef": {"name": "epic"},
                "ehrAuthentication": {"type": "User", "user": {"clientId": EHR_CLIENT}}}}))
    })
    .await;
    let started = start(&launches, &format!("{}/fhir", launches.setup.ehr.url), "the ehr's launch").await;
    let launch = EhrRequest::of(started.header("location").unwrap()).get("launch").to_owned();
    let changes = [("launch", Some(launch.as_str())), ("client_id", Some("another-client"))];
    assert_eq!(told(&launches.authorize(&changes).await), "invalid_request");
}
