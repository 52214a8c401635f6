//! Sessions of users, shared by two processes of the proxy on one real Valkey. Every step goes over HTTP: to the proxies,
//! and to the simulated EHR, where the users log in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::join;
use hearthgate::sandbox::{Credential, FIRST_PATIENT, Registration};
use rstest::rstest;
use tempfile::TempDir;

use super::installation::{Installation, PATIENCE, Process, eventually};
use crate::support::control_plane::ControlPlane;
use crate::support::user::{AppUser, Leaving};
use crate::support::valkey::Valkey;

const SCOPE: &str = "openid fhirUser offline_access launch/patient patient/Patient.rs";
const EHR_CLIENT_ID: &str = "growth-chart-at-the-ehr";
/// Seven answers of a gateway whose store is away take no longer, one after the other.
const NOBODY_WAITS_LONGER: Duration = Duration::from_secs(15);
/// How many launches are under way at once.
const TOGETHER: usize = 50;

/// Two proxies on one Valkey, and an app whose users the EHR knows.
struct Clinic {
    installation: Installation<'static>,
    valkey: Valkey,
    _operator: Process,
    _files: TempDir,
}

fn objects(fhir_base: &str) -> String {
    format!(
        "
apiVersion: hearthgate.dev/v1alpha1
kind: DataAdapter
metadata: {{name: ehr}}
spec:
  dataSourceType: EpicR4External
  fhirBaseUrl: {fhir_base}
---
apiVersion: hearthgate.dev/v1alpha1
kind: Gateway
metadata: {{name: clinic}}
spec:
  dataAdapterRef: {{name: ehr}}
---
apiVersion: hearthgate.dev/v1alpha1
kind: App
metadata: {{name: growth-chart}}
spec:
  clientId: growth-chart
  clientType: Public
  redirectUris: [http://127.0.0.1:3000/app.html]
  scopes: [openid, fhirUser, offline_access, launch/patient, patient/Patient.rs]
---
apiVersion: hearthgate.dev/v1alpha1
kind: Activation
metadata: {{name: growth-chart-at-clinic}}
spec:
  appRef: {{name: growth-chart}}
  gatewayRef: {{name: clinic}}
  ehrAuthentication:
    type: User
    user: {{clientId: {EHR_CLIENT_ID}}}
"
    )
}

impl Clinic {
    async fn open() -> Self {
        let files = tempfile::tempdir().unwrap();
        let valkey = Valkey::start(files.path(), &[]);
        let store = format!("store.url={}", valkey.url());
        let installation = Installation::prepare_with(ControlPlane::shared().await, 2, &[&store]).await;
        installation.apply(&objects(&installation.ehr.fhir_base_url())).await;
        let operator = installation.operator().await;
        let clinic = Self { installation, valkey, _operator: operator, _files: files };
        let registration = Registration {
            redirect_uris: vec![format!("{}/oauth2/callback", clinic.gateway())],
            ..Registration::new(EHR_CLIENT_ID, Credential::Public)
        };
        clinic.installation.ehr.register(registration).unwrap();
        for user in clinic.users() {
            eventually(PATIENCE, "it launches users", || async {
                user.authorize(SCOPE, None).await.headers.contains_key("set-cookie")
            })
            .await;
        }
        clinic
    }

    fn gateway(&self) -> String {
        format!("{}/{}/clinic", self.installation.public_url(), self.installation.namespace)
    }

    /// The app and its user, by way of either proxy.
    fn users(&self) -> [AppUser; 2] {
        let [one, other] = &self.installation.proxies[..] else { panic!("two proxies") };
        [one, other].map(|proxy| AppUser {
            client: self.installation.client.clone(),
            gateway: self.gateway(),
            replica: Some(format!("http://127.0.0.1:{}", proxy.public)),
            client_id: "growth-chart".to_owned(),
            secret: None,
            redirect_uri: "http://127.0.0.1:3000/app.html".to_owned(),
            login: "camila.lopez",
        })
    }
}

/// Of two answers to the same question one is good; what is good, and the other's refusal.
fn once(answers: [crate::support::standalone::Answer; 2]) -> crate::support::standalone::Answer {
    let [one, other] = answers;
    let (good, refused) = if one.status == 200 { (one, other) } else { (other, one) };
    assert_eq!(good.status, 200, "{good:?} {refused:?}");
    assert_eq!(refused.refusal(), (400, "invalid_grant".to_owned()));
    good
}

async fn in_batches<Work: Future<Output = ()>>(count: usize, work: impl Fn(usize) -> Work) {
    for begin in (0..count).step_by(TOGETHER) {
        join_all((begin..begin + TOGETHER).map(&work)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_and_a_refresh_token_are_good_once_in_each_of_a_thousand_races_of_two_processes() {
    let clinic = Clinic::open().await;
    let users = clinic.users();
    let [one, other] = &users;
    let begun = Instant::now();
    in_batches(1000, async |number| {
        let code = users[number % 2].code(SCOPE, None).await;
        let (first, second) = join!(one.redeem(&code), other.redeem(&code));
        let tokens = once([first, second]);
        if number.is_multiple_of(TOGETHER) {
            // Two had the code, so nobody is believed.
            eventually(PATIENCE, "what was issued is over at both", async || {
                let path = format!("Patient/{FIRST_PATIENT}");
                let access = tokens.text_of("access_token");
                let (first, second) = join!(one.read(&path, &access), other.read(&path, &access));
                (first.status.as_u16(), second.status.as_u16()) == (401, 401)
            })
            .await;
        }
    })
    .await;
    let (codes, refreshes) = (begun.elapsed(), Instant::now());
    in_batches(1000, async |number| {
        let code = users[number % 2].code(SCOPE, None).await;
        let token = users[(number + 1) % 2].redeem(&code).await.text_of("refresh_token");
        let (first, second) = join!(one.refresh(&token), other.refresh(&token));
        let next = once([first, second]).text_of("refresh_token");
        if number.is_multiple_of(TOGETHER) {
            assert_eq!(one.refresh(&next).await.refusal(), (400, "invalid_grant".to_owned()), "its family is over");
        }
    })
    .await;
    eprintln!("1,000 races for a code took {codes:?}, for a refresh token {:?}", refreshes.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_ehr_says_to_users_of_any_replica_is_told_in_status() {
    let clinic = Clinic::open().await;
    let condition = async |name: &str| {
        let activation = clinic.installation.get("activation", "growth-chart-at-clinic").await.unwrap();
        let conditions = activation["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|condition| condition["type"] == name).unwrap_or_default();
        ["status", "reason"].map(|member| found[member].as_str().unwrap_or_default().to_owned())
    };
    let becomes = async |name: &str, expected: [&str; 2]| {
        eventually(PATIENCE, &format!("{name} becomes {expected:?}"), || async { condition(name).await == expected })
            .await;
    };
    becomes("Ready", ["True", "Ready"]).await;
    assert_eq!(condition("EHRAuthenticated").await, ["Unknown", "NoUserYet"]);
    let [_, user] = clinic.users();
    let refresh = user.redeem(&user.code(SCOPE, None).await).await.text_of("refresh_token");
    becomes("EHRAuthenticated", ["True", "EHRAuthenticated"]).await;

    // Its team removes the client, and a session goes to renew its token.
    clinic.installation.ehr.unregister(EHR_CLIENT_ID);
    clinic.installation.ehr.expire_tokens();
    let access = user.refresh(&refresh).await.text_of("access_token");
    let read = user.read(&format!("Patient/{FIRST_PATIENT}"), &access).await;
    assert_eq!(read.status, 502, "{read:?}");
    becomes("EHRAuthenticated", ["False", "Refused"]).await;
    assert_eq!(condition("Ready").await, ["False", "Refused"]);
}

/// How far a launch came before a process died.
enum Stage {
    AtTheEhr(Leaving),
    OnTheWayBack(Leaving, String),
    Code(String),
    Tokens(String),
}

impl Stage {
    /// A launch at this replica, so far.
    async fn reach(user: &AppUser, number: usize) -> Self {
        let leaving = user.leave(SCOPE, None).await;
        if number.is_multiple_of(4) {
            return Self::AtTheEhr(leaving);
        }
        let callback = user.visit_the_ehr(&leaving).await;
        if number % 4 == 1 {
            return Self::OnTheWayBack(leaving, callback);
        }
        let code = user.received(&user.come_back(&callback, &leaving).await).remove("code").unwrap();
        if number % 4 == 2 {
            return Self::Code(code);
        }
        Self::Tokens(user.redeem(&code).await.text_of("refresh_token"))
    }

    /// The rest of it, at this replica: the app works with the user's patient.
    async fn finish(self, user: &AppUser) {
        let (leaving, callback) = match self {
            Self::AtTheEhr(leaving) => {
                let callback = user.visit_the_ehr(&leaving).await;
                (leaving, callback)
            }
            Self::OnTheWayBack(leaving, callback) => (leaving, callback),
            Self::Code(code) => return use_code(user, &code).await,
            Self::Tokens(refresh) => return use_refresh_token(user, &refresh).await,
        };
        let code = user.received(&user.come_back(&callback, &leaving).await).remove("code").unwrap();
        use_code(user, &code).await;
    }
}

async fn use_code(user: &AppUser, code: &str) {
    let tokens = user.redeem(code).await;
    assert_eq!(tokens.status, 200, "{tokens:?}");
    use_refresh_token(user, &tokens.text_of("refresh_token")).await;
}

async fn use_refresh_token(user: &AppUser, token: &str) {
    let tokens = user.refresh(token).await;
    assert_eq!(tokens.status, 200, "{tokens:?}");
    let read = user.read(&format!("Patient/{FIRST_PATIENT}"), &tokens.text_of("access_token")).await;
    assert_eq!(read.status, 200, "{read:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_amid_500_launches_takes_no_session_with_it() {
    let mut clinic = Clinic::open().await;
    let users = clinic.users();
    let [_, survivor] = &users;
    let mut launches = Vec::new();
    for begin in (0..500).step_by(TOGETHER) {
        let users = &users;
        let reach = async move |number: usize| Stage::reach(&users[number / 4 % 2], number).await;
        launches.extend(join_all((begin..begin + TOGETHER).map(reach)).await);
    }
    // It dies with work in hand, and who is at the other one meanwhile notices nothing.
    let is_over = AtomicBool::new(false);
    let at_the_survivor = async {
        let mut launches = 0;
        while !is_over.load(Ordering::Relaxed) {
            Stage::reach(survivor, launches).await.finish(survivor).await;
            launches += 1;
        }
        launches
    };
    let work_in_hand = join_all(
        (0..TOGETHER).map(|_| async { while users[0].authorization_request(SCOPE, None).send().await.is_ok() {} }),
    );
    let kill_and_finish = async {
        clinic.installation.proxies[0].kill();
        let mut launches = launches.into_iter();
        loop {
            let batch: Vec<_> = launches.by_ref().take(TOGETHER).map(|launch| launch.finish(survivor)).collect();
            if batch.is_empty() {
                break;
            }
            join_all(batch).await;
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let (meanwhile, _, ()) = join!(at_the_survivor, work_in_hand, kill_and_finish);
    assert!(meanwhile > 0);
}

/// How a store can be away.
#[derive(Clone, Copy)]
enum Away {
    Killed,
    /// It takes connections and commands, and answers nothing.
    Hung,
}

#[rstest]
#[case::killed(Away::Killed)]
#[case::hung(Away::Hung)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_store_users_are_told_to_come_back_later_and_do(#[case] away: Away) {
    let mut clinic = Clinic::open().await;
    let [user, elsewhere] = clinic.users();
    let leaving = user.leave(SCOPE, None).await;
    let callback = user.visit_the_ehr(&leaving).await;
    let code = user.code(SCOPE, None).await;
    let tokens = user.redeem(&user.code(SCOPE, None).await).await;
    let (access, refresh) = (tokens.text_of("access_token"), tokens.text_of("refresh_token"));
    let patient = format!("Patient/{FIRST_PATIENT}");
    assert_eq!(user.read(&patient, &access).await.status, 200);
    match away {
        Away::Killed => clinic.valkey.kill(),
        Away::Hung => clinic.valkey.signal("STOP"),
    }
    let begun = Instant::now();

    // To the app by way of the browser, where it is known whose launch it is; else on a page.
    let told = user.received(&user.authorize(SCOPE, None).await);
    assert_eq!(told["error"], "temporarily_unavailable");
    let page = user.come_back(&callback, &leaving).await;
    assert_eq!(
        (page.status.as_u16(), &page.headers["content-type"]),
        (503, &"text/html; charset=utf-8".parse().unwrap())
    );
    assert!(page.text.contains("cannot be reached now"), "{}", page.text);
    let later = (503, "temporarily_unavailable".to_owned());
    for answer in [user.redeem(&code).await, user.refresh(&refresh).await, user.revoke(&refresh).await] {
        assert_eq!(
            (answer.refusal(), &answer.headers["retry-after"]),
            (later.clone(), &"5".parse().unwrap()),
            "{answer:?}"
        );
    }
    // What this process holds in memory is enough for the calls of a session in use; another one knows nothing of it.
    assert_eq!(user.read(&patient, &access).await.status, 200);
    let unknown = elsewhere.read(&patient, &access).await;
    assert_eq!((unknown.status.as_u16(), &unknown.json()["resourceType"]), (503, &"OperationOutcome".into()));

    assert!(begun.elapsed() < NOBODY_WAITS_LONGER, "seven answers took {:?}", begun.elapsed());

    match away {
        Away::Killed => clinic.valkey.restart(),
        Away::Hung => clinic.valkey.signal("CONT"),
    }
    for user in [&user, &elsewhere] {
        eventually(PATIENCE, "users are sent on again", || async {
            user.authorize(SCOPE, None).await.headers.contains_key("set-cookie")
        })
        .await;
        use_code(user, &user.code(SCOPE, None).await).await;
    }
}
