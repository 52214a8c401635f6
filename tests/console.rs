//! The console in a real browser: every page with 500 apps, both forms to their end, the downloads, and axe-core.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says no by panicking, and its helpers are part of it"
)]

mod support;

#[path = "support/browser.rs"]
mod browser;

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use browser::Browser;
use reqwest::StatusCode;
use support::standalone::{BINARY, Standalone};

const APPS: usize = 500;
const HOME: &str = "/console/environments/default/";

/// Gateways of hospitals, and apps spread over them: some ready, some waiting for people, some broken, one switched off.
fn fleet(ehr: &str) -> String {
    let mut text = String::new();
    let mut put = |kind: &str, name: &str, spec: &str| {
        let head = "---\napiVersion: hearthgate.dev/v1alpha1\n";
        write!(text, "{head}kind: {kind}\nmetadata: {{name: {name}}}\nspec:\n{spec}").unwrap();
    };
    for number in 0..5 {
        let adapter = format!(
            "  displayName: Hospital {number}\n  dataSourceType: EpicR4External\n  fhirBaseUrl: {ehr}/interconnect/api/FHIR/R4\n  oauth: {{tokenUrl: '{ehr}/interconnect/oauth2/token'}}\n"
        );
        put("DataAdapter", &format!("hospital-{number}"), &adapter);
        let adapter = if number == 4 { "gone".to_owned() } else { format!("hospital-{number}") };
        let gateway = format!("  dataAdapterRef: {{name: {adapter}}}\n  allowedScopes: [system/*.rs]\n");
        put("Gateway", &format!("gateway-{number}"), &gateway);
    }
    for number in 0..APPS {
        let health = if number == 0 { format!("  healthUri: {ehr}/\n") } else { String::new() };
        let app = format!(
            "  displayName: App number {number}\n  clientType: BackendService\n  jwksUri: https://app-{number}.example.org/jwks.json\n{health}  scopes: [system/Patient.rs, system/Appointment.cruds]\n"
        );
        put("App", &format!("app-{number:03}"), &app);
        let client_id = if number % 10 == 7 { "{}" } else { "{clientId: client, keyPair: {algorithm: ES384}}" };
        let suspend = if number == 3 { "  suspend: true\n" } else { "" };
        let gateway = number % 5;
        let activation = format!(
            "  appRef: {{name: app-{number:03}}}\n  gatewayRef: {{name: gateway-{gateway}}}\n{suspend}  ehrAuthentication:\n    type: System\n    system: {{{}}}\n",
            if number < 20 {
                format!("backendAuth: {}", client_id.replace("client,", &format!("client-{number},")))
            } else {
                "none: {}".to_owned()
            }
        );
        put("Activation", &format!("app-{number:03}-at-{gateway}"), &activation);
    }
    text
}

async fn served_fleet() -> Standalone {
    let server = Standalone::launch("", &[]);
    server.wait_ready().await;
    server.write("fleet.yaml", &fleet(&server.sandbox("")));
    server
        .eventually("the fleet is told", || async {
            let settled = server.condition("Activation", "app-000-at-0", "Ready").await;
            server.object("Activation", "app-499-at-4").await.is_some()
                && settled.is_some_and(|(ready, ..)| ready == "True")
        })
        .await;
    server
}

#[tokio::test]
async fn every_page_shows_500_apps_quickly_to_everybody_and_without_a_complaint() {
    let server = served_fleet().await;
    let browser = Browser::start().await;
    let pages = [
        ("", "default"),
        ("apps", "Apps"),
        ("apps?q=number+42&state=ready", "Apps"),
        ("activations", "Activations"),
        ("gateways", "Gateways"),
        ("adapters", "Data adapters"),
        ("picture", "Picture"),
        ("apps/app-000", "App number 0"),
        ("activations/app-000-at-0", "app-000-at-0"),
        ("activations/app-004-at-4", "app-004-at-4"),
        ("activations/app-007-at-2", "app-007-at-2"),
        ("gateways/gateway-4", "gateway-4"),
        ("adapters/hospital-0", "Hospital 0"),
        ("register", "Register new app"),
        ("activate", "Activate an app"),
    ];
    let mut slow = Vec::new();
    let mut barriers = Vec::new();
    for (width, height, scheme) in [(1280, 900, "light"), (390, 844, "dark")] {
        browser.resize(width, height).await;
        browser.prefer(scheme).await;
        for (path, title) in pages {
            let took = browser.open(&server.admin(&format!("{HOME}{path}"))).await;
            println!("{took:6.0} ms {width:5} {path}");
            if took > 2_000.0 {
                slow.push(format!("{path}: {took:.0} ms"));
            }
            assert_eq!(browser.text("h1").await, title, "{path}");
            barriers
                .extend(browser.serious_barriers().await.into_iter().map(|found| format!("{path} {scheme}: {found}")));
            assert_eq!(browser.overflow().await, 0, "{path} is wider than a screen of {width}");
            browser.expect_no_complaint().await;
        }
    }
    assert!(barriers.is_empty(), "{}", barriers.join("\n"));
    assert!(slow.is_empty(), "{}", slow.join("\n"));
    assert_eq!(browser.driver.find_all(By::Css(".lines code")).await.unwrap().len(), 2, "the form names its commands");
    browser.end().await;
}

#[tokio::test]
async fn every_page_is_drawn_light_and_dark_wide_and_on_a_phone() {
    let server = served_fleet().await;
    let browser = Browser::start().await;
    let registration = "step=4&go=next&appId=recall&clientType=BackendService&proof=jwksUri&scope=system%2FPatient.rs&jwksUri=https%3A%2F%2Frecall.example.org%2Fjwks.json";
    let pages = [
        ("home", String::new()),
        ("apps", "apps".to_owned()),
        ("app", "apps/app-000".to_owned()),
        ("activations", "activations".to_owned()),
        ("activation-ready", "activations/app-000-at-0".to_owned()),
        ("activation-waiting", "activations/app-007-at-2".to_owned()),
        ("gateways", "gateways".to_owned()),
        ("gateway-broken", "gateways/gateway-4".to_owned()),
        ("adapters", "adapters".to_owned()),
        ("adapter", "adapters/hospital-0".to_owned()),
        ("picture", "picture".to_owned()),
        ("register", "register".to_owned()),
        ("register-review", format!("register?{registration}")),
        ("activate", "activate".to_owned()),
    ];
    for (screen, width, height) in [("wide", 1280, 900), ("phone", 390, 844)] {
        for scheme in ["light", "dark"] {
            for (name, path) in &pages {
                browser.resize(width, height).await;
                browser.prefer(scheme).await;
                browser.open(&server.admin(&format!("{HOME}{path}"))).await;
                browser.element("h1").await;
                assert_eq!(browser.overflow().await, 0, "{name} is wider than a screen of {width}");
                let picture = format!("console-{name}-{screen}-{scheme}");
                let (colours, brightness) = browser.look(&picture).await;
                assert!(colours > 20, "{picture} shows next to nothing: {colours} colours");
                assert_eq!(brightness > 128.0, scheme == "light", "{picture}: most of it has brightness {brightness}");
            }
        }
    }
    browser.end().await;
}

#[tokio::test]
async fn by_keyboard_alone_an_app_is_registered_and_its_yaml_copied() {
    let server = Standalone::start("quickstart").await;
    let browser = Browser::start().await;
    browser.open(&server.admin(HOME)).await;
    assert_eq!(browser.tab_to(".chief .button").await.text().await.unwrap(), "Register new app");
    browser.type_keys(Key::Enter).await;
    browser.expect_text("#step-title", "Who it is").await;
    browser.tab_to("#displayName").await;
    browser.type_keys("Recall Letters").await;
    browser.tab_to("#appId").await;
    browser.type_keys("Recall Letters" + Key::Enter).await;
    // A mistake is told, and the focus leads to where it is made.
    browser.expect_text(".problems", "App ID").await;
    browser.tab_to(".problems a").await;
    browser.type_keys(Key::Enter).await;
    browser.tab_to("#appId").await.send_keys(Key::Control + "a").await.unwrap();
    browser.type_keys("recall-letters" + Key::Enter).await;
    browser.expect_text("#step-title", "Addresses").await;
    browser.tab_to("button[value='next']").await;
    browser.type_keys(Key::Enter).await;
    browser.expect_text("#step-title", "Access scopes").await;
    browser.tab_to("input[value='system/Patient.rs']").await;
    browser.type_keys(" " + Key::Enter).await;
    browser.expect_text("#step-title", "Security").await;
    browser.tab_to("#jwksUri").await;
    browser.type_keys("https://recall.example.org/jwks.json" + Key::Enter).await;
    browser.expect_text("#step-title", "Review").await;

    browser.tab_to("button.copy[aria-label='Copy the YAML']").await;
    browser.type_keys(Key::Enter).await;
    browser.expect_text("button.copy[aria-label='Copy the YAML']", "Copied").await;
    assert_eq!(browser.text("#said").await, "Copied", "a screen reader is told, too");
    let copied = browser.clipboard().await;
    assert_eq!(copied.trim_end(), browser.text("#yaml").await.trim_end());
    assert!(copied.contains("name: recall-letters") && copied.contains("- system/Patient.rs"), "{copied}");
    browser.expect_text("button.copy[aria-label='Copy the YAML']", "Copy").await;
    browser.end().await;
}

#[tokio::test]
async fn a_search_narrows_the_list_while_one_types_and_news_comes_by_itself() {
    let server = served_fleet().await;
    let browser = Browser::start().await;
    browser.open(&server.admin(&format!("{HOME}activations"))).await;
    assert!(browser.text(".found").await.starts_with("1–100 of 500"));
    browser.fill("q", "app-042").await;
    browser.until("the search is done", async || browser.text(".found").await.starts_with("1–1 of 1")).await;
    assert_eq!(browser.text("tbody th").await, "app-042-at-2");

    browser.open(&server.admin(&format!("{HOME}activations/app-042-at-2"))).await;
    browser.until("it is ready", async || browser.text(".title .state").await == "Ready").await;
    server.edit("fleet.yaml", "appRef: {name: app-042}", "appRef: {name: app-042}\n  suspend: true");
    browser.until("the page tells of the switch", async || browser.text(".title .state").await == "Switched off").await;
    browser.end().await;
}

#[tokio::test]
async fn news_is_asked_for_at_no_cost_while_nothing_changes() {
    let server = Standalone::start("quickstart").await;
    server.wait_condition("Activation", "schedule-sync-at-epic", "Ready", "True", "Ready").await;
    let url = server.admin(&format!("{HOME}apps"));
    let first = server.send(server.client.get(&url)).await;
    let tag = first.headers["etag"].to_str().unwrap();
    let again = server.send(server.client.get(&url).header("If-None-Match", tag)).await;
    assert_eq!((again.status, again.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
    server.edit("app.yaml", "displayName: Schedule Sync", "displayName: Schedules");
    server
        .eventually("another version is there", || async {
            let request = server.client.get(&url).header("If-None-Match", tag);
            server.send(request).await.text.contains(">Schedules</a>")
        })
        .await;
}

#[tokio::test]
async fn no_page_lets_a_browser_run_or_fetch_anything_foreign() {
    let server = Standalone::start("quickstart").await;
    for path in [HOME, "/console/", "/console/nowhere", "/console/environments/default/apps/schedule-sync"] {
        let answer = server.send(server.client.get(server.admin(path))).await;
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        for foreign in ["http://", "https://"] {
            assert!(!answer.text.contains(&format!("src=\"{foreign}")), "{path}");
        }
        assert!(!answer.text.contains(" style=") && !answer.text.contains("<style"), "{path}");
        assert!(!answer.text.contains("quickstart-secret-for-tests-only"), "{path} shows a secret");
    }
    let hostile = "'\"><script>alert(1)</script>'";
    server.edit("app.yaml", "displayName: Schedule Sync", &format!("displayName: {hostile}"));
    server
        .eventually("a hostile name is shown as text", || async {
            let page = server.send(server.client.get(server.admin(&format!("{HOME}apps")))).await.text;
            assert!(!page.contains("<script>alert"), "{page}");
            page.contains("&#60;script&#62;alert(1)")
        })
        .await;
    let foreign = server.client.get(server.admin(HOME)).header("Host", "evil.example");
    assert_eq!(server.send(foreign).await.status, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn where_nothing_is_yet_the_first_app_can_be_registered() {
    let server = Standalone::launch("", &[]);
    server.wait_ready().await;
    let home = server.send(server.client.get(server.admin("/console/"))).await;
    assert_eq!((home.status, home.headers["location"].to_str().unwrap()), (StatusCode::SEE_OTHER, HOME));
    let home = server.send(server.client.get(server.admin(HOME))).await;
    assert!(home.text.contains("Nothing is here yet.") && home.text.contains("/register\""), "{}", home.text);
    let draft = "appId=first&clientType=Public&redirectUris=https%3A%2F%2Fapp.example.org%2Fback";
    let review = server.admin(&format!("{HOME}register?step=4&go=next&{draft}"));
    assert!(server.send(server.client.get(review)).await.text.contains("it will be accepted"));
}

#[tokio::test]
async fn on_another_address_than_loopback_a_standalone_server_has_no_console() {
    let admin = std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut server = Command::new(BINARY)
        .args(["serve", "--listen=127.0.0.1:0", &format!("--admin-listen={admin}")])
        .arg(directory.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", admin.port());
    let start = std::time::Instant::now();
    while client.get(url("/livez")).send().await.is_err() && start.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let console = client.get(url("/console/")).send().await.map(|answer| answer.status());
    let health = client.get(url("/livez")).send().await.map(|answer| answer.status());
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!((health.unwrap(), console.unwrap()), (StatusCode::OK, StatusCode::NOT_FOUND));
}

#[tokio::test]
async fn an_app_is_registered_and_activated_by_what_the_forms_write() {
    let server = Standalone::start("quickstart").await;
    let browser = Browser::start().await;
    let next = "button[value='next']";
    browser.open(&server.admin(HOME)).await;
    browser.press(".chief .button").await;

    // Step 1: a mistake is told where it is made.
    browser.fill("displayName", "Recall Letters").await;
    browser.fill("appId", "Recall Letters").await;
    browser.press(next).await;
    browser.expect_text(".problems", "App ID").await;
    assert_eq!(browser.serious_barriers().await, Vec::<String>::new());
    browser.fill("appId", "schedule-sync").await;
    browser.press(next).await;
    browser.expect_text(".problems", "there is already an app schedule-sync").await;
    browser.fill("appId", "recall-letters").await;
    browser.fill("description", "Writes to patients.\nEvery month.").await;
    browser.press(next).await;

    browser.expect_text("#step-title", "Addresses").await;
    browser.fill("healthUri", "http://10.0.0.1/health").await;
    browser.press(next).await;
    // What only the compiler knows is told as well.
    browser.expect_text(".problems", "App health URI").await;
    browser.fill("healthUri", "").await;
    browser.press(next).await;

    browser.expect_text("#step-title", "Access scopes").await;
    browser.press("input[value='system/Patient.rs']").await;
    browser.fill("scopes", "system/Slot.rs").await;
    browser.press(next).await;

    browser.expect_text("#step-title", "Security").await;
    browser.fill("jwksUri", "https://recall.example.org/jwks.json").await;
    browser.press(next).await;

    browser.expect_text("#step-title", "Review").await;
    assert_eq!(browser.serious_barriers().await, Vec::<String>::new());
    let app = browser.commit(&server, "recall-letters.app.yaml").await;
    assert!(app.contains("clientType: BackendService") && app.contains("- system/Slot.rs"), "{app}");
    server.wait_condition("App", "recall-letters", "Ready", "True", "Ready").await;
    let client_id = server.client_id("recall-letters").await;
    assert!(browser.text(".steps-form .pairs").await.contains(&client_id), "the form told the client ID beforehand");

    browser.open(&server.admin(&format!("{HOME}activate?app=recall-letters"))).await;
    browser.fill("gateway", "epic").await;
    browser.press(next).await;
    browser.expect_text("#step-title", "EHR authentication").await;
    browser.press(next).await;
    browser.expect_text("#step-title", "Credentials at the EHR").await;
    browser.fill("ehrClientId", "a5c9e7f2-recall").await;
    browser.fill("appName", "Recall Letters").await;
    browser.fill("tokenUrl", &server.sandbox("/interconnect/oauth2/token")).await;
    browser.press(next).await;
    browser.expect_text("#step-title", "Review").await;
    browser.commit(&server, "recall-letters-at-epic.activation.yaml").await;
    server.wait_condition("Activation", "recall-letters-at-epic", "Ready", "True", "Ready").await;
    browser.end().await;
}

#[tokio::test]
async fn the_downloaded_pem_is_the_certificate_of_the_key() {
    let server = Standalone::start("quickstart").await;
    server.wait_condition("Activation", "schedule-sync-at-epic", "Ready", "True", "Ready").await;
    let browser = Browser::start().await;
    browser.open(&server.admin(&format!("{HOME}activations/schedule-sync-at-epic"))).await;
    browser.press("a[download]").await;
    let downloaded = browser.downloaded("schedule-sync-at-epic.pem").await;
    let kept = server.state().join("keys/default/schedule-sync-at-epic-key-1/certificate.pem");
    assert_eq!(downloaded, std::fs::read_to_string(kept).unwrap());
    assert!(downloaded.starts_with("-----BEGIN CERTIFICATE-----"));
    let fingerprint = browser.text(".fingerprint").await;
    let openssl = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(browser.downloads.join("schedule-sync-at-epic.pem"))
        .output()
        .unwrap();
    assert!(String::from_utf8(openssl.stdout).unwrap().contains(&fingerprint), "{fingerprint}");
    browser.end().await;
}

impl Browser {
    async fn until(&self, what: &str, check: impl AsyncFn() -> bool) {
        let start = std::time::Instant::now();
        while !check().await {
            assert!(start.elapsed() < Duration::from_secs(30), "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A downloaded file, once it is whole.
    async fn downloaded(&self, name: &str) -> String {
        let path = self.downloads.join(name);
        self.until(name, async || path.exists()).await;
        std::fs::read_to_string(path).unwrap()
    }

    /// Downloads the YAML of a form's review, sees that `check` accepts it together with what is there, and commits it.
    async fn commit(&self, server: &Standalone, file: &str) -> String {
        self.press("a[download]").await;
        let yaml = self.downloaded(file).await;
        assert_eq!(yaml.trim_end(), self.text("#yaml").await.trim_end());
        server.write(file, &yaml);
        let checked = Command::new(BINARY).arg("check").arg(server.directory.path()).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
        yaml
    }
}

use thirtyfour::{By, Key};
