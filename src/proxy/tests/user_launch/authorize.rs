//! The authorization endpoint: where nobody is ever redirected to, what is told by redirect, and what the EHR is asked.

use super::*;

#[tokio::test]
async fn a_good_request_goes_straight_on_to_the_ehr() {
    let launches = Launches::new().await;
    let sent_on = launches.authorize(&[]).await;
    assert_eq!(sent_on.status, 303);
    let location = sent_on.header("location").unwrap();
    assert!(
        location.starts_with(&format!("{}/login?tenant=1&response_type=code&", launches.setup.ehr.url)),
        "{location}"
    );
    let asked = EhrRequest::of(location);
    assert_eq!(asked.get("aud"), format!("{}/fhir", launches.setup.ehr.url));
    assert_eq!(asked.get("scope"), "patient/Patient.rs openid fhirUser launch/patient offline_access");
    assert_eq!(asked.0.get("launch"), None);
    // Nothing of the app's goes along: neither its state, nor its challenge, nor its nonce.
    for theirs in ["s t+a/t=e", CHALLENGE, "the app's nonce", CLIENT] {
        assert!(asked.0.values().all(|value| value != theirs), "{asked:?}");
    }
    let cookie = sent_on.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-hearthgate-launch-"), "{cookie}");
    assert!(cookie.ends_with("; Max-Age=900; Path=/; Secure; HttpOnly; SameSite=Lax"), "{cookie}");
    assert_eq!(sent_on.header("cache-control"), Some("no-store"));
    assert!(launches.setup.ehr.reached().iter().all(|reached| reached.target.contains(".well-known")));

    // The form of a POST is the same request.
    let form = request(&[("aud", Some(&format!("{FHIR}/")))]);
    let posted = launches.setup.ask("POST", "/epic/oauth2/authorize", &[FORM], &form).await;
    assert_eq!((posted.status, posted.header("location").map(|to| to.contains("/login?"))), (303, Some(true)));
}

#[tokio::test]
async fn a_fault_of_client_or_redirect_uri_is_told_on_a_page() {
    let launches = Launches::new().await;
    let refused = (400, "HG7090".to_owned());
    for changes in [
        &[("client_id", None)][..],
        &[("client_id", Some("nobody"))],
        &[("client_id", Some("MOBILE-CLIENT"))],
        &[("redirect_uri", None)],
        &[("redirect_uri", Some(""))],
        // threats.md: suffix host, userinfo, path parameters, loopback, scripts.
        &[("redirect_uri", Some("https://mobile.example.org.attacker.example/callback"))],
        &[("redirect_uri", Some("https://mobile.example.org@@attacker.example/callback"))],
        &[("redirect_uri", Some("https://mobile.example.org/callback/..;/open"))],
        &[("redirect_uri", Some("http://localhost/callback"))],
        &[("redirect_uri", Some("JavaScript:alert(1)"))],
        &[("redirect_uri", Some("https://mobile.example.org/callback?"))],
        &[("redirect_uri", Some("https://mobile.example.org:443/callback"))],
        &[("redirect_uri", Some("https://MOBILE.example.org/callback"))],
        // Another client's: schedule-sync has none.
        &[("client_id", Some(CLIENT_ID))],
        // Whatever else is wrong.
        &[("redirect_uri", Some("https://attacker.example")), ("response_type", None), ("state", None)],
    ] {
        assert_eq!(on_page(&launches.authorize(changes).await), refused, "{changes:?}");
    }
    for more in ["&client_id=mobile-client", "&redirect_uri=https%3A%2F%2Fmobile.example.org%2Fcallback"] {
        let path = format!("/epic/oauth2/authorize?{}{more}", request(&[]));
        assert_eq!(on_page(&launches.setup.ask("GET", &path, &[], "").await), refused, "{more}");
    }
    let unreadable = (400, "HG7091".to_owned());
    for query in [format!("{}&x=%zz", request(&[])), format!("{}&{}", request(&[]), "a=b&c=d&".repeat(2000))] {
        let path = format!("/epic/oauth2/authorize?{query}");
        let answer = launches.setup.ask("GET", &path, &[], "").await;
        assert!(answer.status == 414 || on_page(&answer) == unreadable, "{answer:?}");
    }
    let json = [("content-type", "application/json")];
    assert_eq!(on_page(&launches.setup.ask("POST", "/epic/oauth2/authorize", &json, "{}").await), unreadable);
}

/// The registered URI with something else somewhere.
fn mutants() -> impl Iterator<Item = String> {
    const CHARACTERS: &str = "/\\.:@?#%;&= \t\n\0*+~-_aZ0\u{e4}\u{3002}\u{2024}";
    let characters: Vec<char> = CHARACTERS.chars().collect();
    let places = 0..=REDIRECT_URI.len();
    let inserted = places.flat_map(move |place| {
        characters.clone().into_iter().flat_map(move |character| {
            let (before, after) = REDIRECT_URI.split_at(place);
            let replaced = after.chars().skip(1).collect::<String>();
            [format!("{before}{character}{after}"), format!("{before}{character}{replaced}")]
        })
    });
    inserted.filter(|mutant| mutant != REDIRECT_URI)
}

#[tokio::test]
async fn none_of_a_thousand_mutants_of_a_redirect_uri_is_redirected_to() {
    let launches = Launches::new().await;
    let mutants: Vec<String> = mutants().collect();
    assert!(mutants.len() >= 1000, "{}", mutants.len());
    for mutant in &mutants {
        let answer = launches.authorize(&[("redirect_uri", Some(mutant))]).await;
        assert_eq!(on_page(&answer), (400, "HG7090".to_owned()), "{mutant:?}");
    }
}

#[tokio::test]
async fn all_else_is_told_to_the_app() {
    let launches = Launches::new().await;
    for (changes, error) in [
        (&[("response_type", None)][..], "invalid_request"),
        (&[("response_type", Some("token"))], "unsupported_response_type"),
        (&[("response_type", Some("code id_token"))], "unsupported_response_type"),
        (&[("response_mode", Some("fragment"))], "invalid_request"),
        (&[("request", Some("e30.e30."))], "request_not_supported"),
        (&[("request_uri", Some("https://attacker.example/r"))], "request_uri_not_supported"),
        (&[("aud", None)], "invalid_request"),
        (&[("aud", Some("https://gate.example.org/default/plain/fhir"))], "invalid_request"),
        (&[("aud", Some("https://gate.example.org/default/epic/fhir//"))], "invalid_request"),
        (&[("code_challenge", None)], "invalid_request"),
        (&[("code_challenge", Some("short"))], "invalid_request"),
        (&[("code_challenge_method", None)], "invalid_request"),
        (&[("code_challenge_method", Some("plain"))], "invalid_request"),
        (&[("code_challenge_method", Some("s256"))], "invalid_request"),
        (&[("scope", Some("system/Patient.rs"))], "invalid_scope"),
        (&[("scope", Some("patient/Encounter.rs nonsense"))], "invalid_scope"),
        (&[("launch", Some("unknown"))], "invalid_request"),
    ] {
        let answer = launches.authorize(changes).await;
        assert_eq!(told(&answer), error, "{changes:?}");
        assert_eq!(EhrRequest::of(answer.header("location").unwrap()).get("state"), "s t+a/t=e");
        assert_eq!(answer.header("set-cookie"), None);
    }
    let without_state = launches.authorize(&[("state", None)]).await;
    assert_eq!(told(&without_state), "invalid_request");
    assert_eq!(EhrRequest::of(without_state.header("location").unwrap()).0.get("state"), None);
    for more in ["&scope=openid", "&state=another", "&x=1&x=2"] {
        let path = format!("/epic/oauth2/authorize?{}{more}", request(&[]));
        assert_eq!(told(&launches.setup.ask("GET", &path, &[], "").await), "invalid_request", "{more}");
    }
    // A form is answered as a query is: the browser goes on with a GET, and takes nothing of the form along.
    let form = request(&[("code_challenge_method", Some("plain"))]);
    let posted = launches.setup.ask("POST", "/epic/oauth2/authorize", &[FORM], &form).await;
    assert_eq!(told(&posted), "invalid_request");
    assert!(launches.setup.ehr.reached().is_empty());
}

#[tokio::test]
async fn who_may_not_launch_is_told_so() {
    let launches = Launches::new().await;
    for (kind, name) in [("Activation", "mobile-epic"), ("App", "mobile"), ("Gateway", "epic")] {
        launches.publish(|world| world.set(kind, name, "suspend", true.into()));
        assert_eq!(told(&launches.authorize(&[]).await), "unauthorized_client", "{kind}");
    }
    launches.publish(|world| world.without("Activation", "mobile-epic"));
    assert_eq!(told(&launches.authorize(&[]).await), "unauthorized_client");
    let system = json!({ "type": "System", "system": { "none": {} } });
    launches.publish(|world| world.set("Activation", "mobile-epic", "ehrAuthentication", system));
    assert_eq!(told(&launches.authorize(&[]).await), "unauthorized_client");
    launches.publish(World::without_signing_keys);
    assert_eq!(told(&launches.authorize(&[]).await), "temporarily_unavailable");
}

#[tokio::test]
async fn the_ehr_is_asked_for_the_activations_own_scopes_where_it_has_some() {
    let user = json!({ "type": "User", "user": {
        "clientId": EHR_CLIENT, "scopes": ["launch", "launch/patient", "user/*.read", "openid"],
        "authorizationUrl": "http://127.0.0.1:9/authorize",
    } });
    let launches = Launches::with(|world| world.set("Activation", "mobile-epic", "ehrAuthentication", user)).await;
    let sent_on = launches.authorize(&[]).await;
    let location = sent_on.header("location").unwrap();
    assert!(location.starts_with("http://127.0.0.1:9/authorize?response_type=code&"), "{location}");
    assert_eq!(EhrRequest::of(location).get("scope"), "launch/patient user/*.read openid");
}

#[tokio::test]
async fn an_ehr_that_cannot_be_asked_where_users_log_in_is_told_to_the_app() {
    let launches =
        Launches::with(|world| world.set("DataAdapter", "epic-ehr", "fhirBaseUrl", json!("http://127.0.0.1:9/fhir")))
            .await;
    assert_eq!(told(&launches.authorize(&[]).await), "temporarily_unavailable");
}
