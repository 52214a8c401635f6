//! The console in a cluster: the API server says who one is and what one may see, and takes what the forms write.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{RequestBuilder, StatusCode};

use super::installation::{Installation, PATIENCE, eventually};
use super::replicas::own_address;
use crate::support::control_plane::ControlPlane;

const FORM: &str = "application/x-www-form-urlencoded";
/// Tokens of people whom the API server under test knows: one may do everything, the other nothing.
const EVERYTHING: &str = "admin-of-a-test";
const NOTHING: &str = "nobody-of-a-test";

/// Status, a header, and the body.
async fn answer(request: RequestBuilder, header: &str) -> (StatusCode, String, String) {
    let response = request.send().await.unwrap();
    let value = response.headers().get(header).map(|value| value.to_str().unwrap().to_owned());
    (response.status(), value.unwrap_or_default(), response.text().await.unwrap())
}

#[tokio::test]
async fn the_console_asks_who_one_is_and_shows_what_that_one_may_read() {
    let plane = ControlPlane::shared().await;
    let installation = Installation::prepare(plane, 1).await;
    let address = own_address();
    let proxies = format!("--proxies=127.0.0.1:{}", installation.proxies[0].admin);
    let operator = installation.operator_at(&address, &installation.release, &[proxies], &[]).await;
    installation.apply(&installation.quickstart()).await;
    installation.climb().await;
    let console = format!("http://{address}:{}/console", operator.admin);
    let home = format!("{console}/environments/{}/", installation.namespace);
    let client = &installation.client;

    let (status, location, _) = answer(client.get(&home), "location").await;
    assert_eq!((status, location.as_str()), (StatusCode::SEE_OTHER, "/console/login"));
    let news = client.get(&home).header("HX-Request", "true");
    let (status, location, _) = answer(news, "hx-redirect").await;
    assert_eq!(
        (status, location.as_str()),
        (StatusCode::UNAUTHORIZED, "/console/login"),
        "an open page goes there too"
    );
    for (token, status) in
        [("made-up", StatusCode::SEE_OTHER), (NOTHING, StatusCode::FORBIDDEN), (EVERYTHING, StatusCode::OK)]
    {
        assert_eq!(answer(client.get(&home).bearer_auth(token), "etag").await.0, status, "{token}");
    }
    let (_, _, page) = answer(client.get(format!("{console}/")).bearer_auth(NOTHING), "etag").await;
    assert!(page.contains("nothing that you may read"), "{page}");
    assert!(!page.contains(&installation.namespace), "not even its name");

    let elsewhere = format!("{console}/environments/no-such-environment/");
    for (token, status) in [(NOTHING, StatusCode::FORBIDDEN), (EVERYTHING, StatusCode::FORBIDDEN)] {
        assert_eq!(answer(client.get(&elsewhere).bearer_auth(token), "etag").await.0, status, "{token}");
    }

    // A browser signs in, and its cookie is no token.
    let login = |token: &str| {
        let body = format!("token={token}");
        client.post(format!("{console}/login")).header("Content-Type", FORM).body(body)
    };
    let (status, cookie, page) = answer(login("made-up"), "set-cookie").await;
    assert_eq!((status, cookie.as_str()), (StatusCode::UNAUTHORIZED, ""), "{page}");
    let (status, cookie, _) = answer(login(EVERYTHING), "set-cookie").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert!(cookie.ends_with("; Path=/console; HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(EVERYTHING), "{cookie}");
    let (cookie, _) = cookie.split_once(';').unwrap();
    let activation = format!("{home}activations/schedule-sync-at-epic");
    let (status, _, page) = answer(client.get(&activation).header("Cookie", cookie), "etag").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        page.contains("Download PEM") && page.contains("kubectl get activations.hearthgate.dev/schedule-sync-at-epic")
    );

    // What is downloaded to be uploaded at the EHR is what the key's Secret holds.
    let pem = client.get(format!("{activation}/certificate.pem")).bearer_auth(EVERYTHING);
    let (status, disposition, pem) = answer(pem, "content-disposition").await;
    assert_eq!((status, disposition.as_str()), (StatusCode::OK, "attachment; filename=\"schedule-sync-at-epic.pem\""));
    let held = r"jsonpath={.data.certificate\.pem}";
    let held = installation.kubectl(&["get", "secret", "schedule-sync-at-epic-key-1", "-o", held]).await;
    assert_eq!(pem.as_bytes(), STANDARD.decode(held.trim()).unwrap());
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    let refused = client.get(format!("{activation}/certificate.pem")).bearer_auth(NOTHING);
    assert_eq!(answer(refused, "etag").await.0, StatusCode::FORBIDDEN);

    // What a form writes, kubectl applies.
    let draft = "appId=recall&clientType=BackendService&proof=jwksUri&scope=system%2FPatient.rs&\
                 jwksUri=https%3A%2F%2Frecall.example.org%2Fjwks.json";
    let review = client.get(format!("{home}register?step=4&go=next&{draft}")).bearer_auth(EVERYTHING);
    let (_, _, page) = answer(review, "etag").await;
    assert!(page.contains("it will be accepted"), "{page}");
    let yaml = client.get(format!("{home}register/yaml?{draft}")).bearer_auth(EVERYTHING);
    let (_, disposition, yaml) = answer(yaml, "content-disposition").await;
    assert_eq!(disposition, "attachment; filename=\"recall.app.yaml\"");
    installation.apply(&yaml).await;
    let draft = "app=recall&gateway=epic&method=none";
    let yaml = client.get(format!("{home}activate/yaml?{draft}")).bearer_auth(EVERYTHING);
    installation.apply(&answer(yaml, "etag").await.2).await;
    eventually(PATIENCE, "what the forms wrote is ready", || async {
        let activation = installation.get("activations.hearthgate.dev", "recall-at-epic").await;
        activation
            .is_some_and(|activation| activation["status"]["conditions"].to_string().contains("\"reason\":\"Ready\""))
    })
    .await;
}
