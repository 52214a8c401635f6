//! What the shared store must survive: the server gone, hanging, back, empty, full, behind TLS and a password.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use hearthgate::store::{Address, FirstUse, Kind, RedisStore, RotateFamily, Sealed, Sealer, Store, StoreError};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use crate::support::{GATEWAY, Valkey, eventually, later, now, sealing_key, within};

/// No answer may take longer, whatever the server does.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);

fn server(options: &[&str]) -> (TempDir, Valkey) {
    let directory = TempDir::new().unwrap();
    let server = Valkey::start(directory.path(), options);
    (directory, server)
}

async fn synced(store: &RedisStore) {
    eventually("synced", Duration::from_secs(5), async || store.health().revocations_synced).await;
}

fn address(kind: Kind, key: &str) -> Address {
    Address::of(kind, GATEWAY, key)
}

fn sealed(kind: Kind, key: &str) -> Sealed {
    let sealer = Sealer::new(GATEWAY, &sealing_key(), []);
    sealer.seal(address(kind, key), b"content", later()).unwrap()
}

fn is_away<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Away { .. }))
}

/// Every step answers that the store is away, soon.
async fn assert_away(store: &RedisStore) {
    let step = RotateFamily { presented: 1, next: sealed(Kind::Family, "f"), revoked_until: later() };
    let begun = Instant::now();
    let steps = futures::join!(
        store.use_once(address(Kind::Assertion, "j"), later(), now()),
        store.put(sealed(Kind::Code, "c"), now()),
        store.get(address(Kind::Session, "s"), now()),
        store.replace(1, sealed(Kind::Session, "s"), now()),
        store.remove(address(Kind::Session, "s")),
        store.take(address(Kind::Code, "c"), later(), now()),
        store.start_family(sealed(Kind::Family, "g"), now()),
        store.rotate_family(step, now()),
        store.end_family(address(Kind::Family, "e"), later(), now()),
        store.revoke(address(Kind::Revocation, "meanwhile"), later(), now()),
        store.count(address(Kind::Attempts, "a"), later(), now()),
    );
    let took = begun.elapsed();
    assert!(took < ANSWER_WITHIN, "{took:?}");
    let away = [
        is_away(&steps.0),
        is_away(&steps.1),
        is_away(&steps.2),
        is_away(&steps.3),
        is_away(&steps.4),
        is_away(&steps.5),
        is_away(&steps.6),
        is_away(&steps.7),
        is_away(&steps.8),
        is_away(&steps.9),
        is_away(&steps.10),
    ];
    assert_eq!(away, [true; 11]);
}

async fn back_again(store: &RedisStore) -> Duration {
    eventually("the store is back", Duration::from_secs(3), async || {
        store.use_once(address(Kind::Assertion, "probe"), within(1), now()).await.is_ok() && store.health().reachable
    })
    .await
}

#[tokio::test]
async fn a_server_that_is_gone_is_away_at_once_and_found_again() {
    let (_directory, mut server) = server(&[]);
    let (store, other) = (server.store(), server.store());
    synced(&store).await;
    synced(&other).await;
    store.revoke(address(Kind::Revocation, "before"), later(), now()).await.unwrap();
    server.kill();
    assert_away(&store).await;
    eventually("the outage is seen", Duration::from_secs(3), async || !store.health().reachable).await;

    // What was known stays known, and what is revoked meanwhile is refused here.
    assert!(store.revocations().contains(&address(Kind::Revocation, "before"), now()));
    assert!(store.revocations().contains(&address(Kind::Revocation, "meanwhile"), now()));
    assert!(store.health().revocations_synced, "an outage must not make a replica unready");

    server.restart();
    let took = back_again(&store).await;
    println!("back after {took:?}");
    // This server keeps nothing on disk: the replicas tell it what they know.
    let fresh = server.store();
    synced(&fresh).await;
    for revoked in ["before", "meanwhile"] {
        for (name, store) in [("the other", &other), ("a new one", &fresh)] {
            eventually(&format!("{name} knows {revoked}"), Duration::from_secs(2), async || {
                store.revocations().contains(&address(Kind::Revocation, revoked), now())
            })
            .await;
        }
    }
    assert!(fresh.revocations().contains(&address(Kind::Revocation, "e"), now()), "the family that was ended");
}

#[tokio::test]
async fn a_server_that_hangs_is_away_and_goes_on() {
    let (_directory, server) = server(&[]);
    let store = server.store();
    synced(&store).await;
    server.signal("STOP");
    assert_away(&store).await;
    // And again, on a connection that is not made yet.
    assert_away(&store).await;
    eventually("the outage is seen", Duration::from_secs(3), async || !store.health().reachable).await;
    server.signal("CONT");
    back_again(&store).await;
}

#[tokio::test]
async fn a_replica_that_never_reached_the_server_is_not_ready() {
    let (_directory, mut server) = server(&[]);
    server.kill();
    let store = server.store();
    assert_away(&store).await;
    let health = store.health();
    assert_eq!((health.reachable, health.revocations_synced, health.revocations_silence), (false, false, None));
    server.restart();
    synced(&store).await;
    assert!(store.health().reachable);
}

#[tokio::test]
async fn requests_that_race_while_the_connection_is_lost_all_recover() {
    let (_directory, mut server) = server(&[]);
    let store = server.store();
    synced(&store).await;
    store.use_once(address(Kind::Assertion, "warm"), later(), now()).await.unwrap();
    server.kill();
    server.restart();
    // Nobody told this replica: the first requests may run into the dead connection, and none may stay there.
    let took = back_again(&store).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    let outcomes = futures::future::join_all(
        (0..200).map(|number| store.use_once(address(Kind::Assertion, &number.to_string()), later(), now())),
    )
    .await;
    assert!(outcomes.into_iter().all(|used| used == Ok(FirstUse::First)));
}

#[tokio::test]
async fn a_new_replica_reads_all_revocations_before_it_is_ready() {
    const MANY: usize = 5_000;
    let (_directory, server) = server(&[]);
    let store = server.store();
    synced(&store).await;
    let key = |number: usize| address(Kind::Revocation, &number.to_string());
    for start in (0..MANY).step_by(500) {
        let some = (start..start + 500).map(|number| store.revoke(key(number), later(), now()));
        assert!(futures::future::join_all(some).await.into_iter().all(|revoked| revoked.is_ok()));
    }
    let fresh = server.store();
    synced(&fresh).await;
    assert_eq!(fresh.health().revocations, MANY);
    assert!((0..MANY).all(|number| fresh.revocations().contains(&key(number), now())));
}

#[tokio::test]
async fn a_server_that_is_full_refuses_and_keeps_what_it_has() {
    let (_directory, server) = server(&["--maxmemory-policy", "noeviction"]);
    let store = server.store();
    synced(&store).await;
    assert_eq!(store.use_once(address(Kind::Assertion, "j"), later(), now()).await, Ok(FirstUse::First));
    let limit = |bytes: &str| {
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).exec(&mut server.raw()).unwrap();
    };
    limit("1");
    let full = |kind| Err(StoreError::Full { kind });
    assert_eq!(store.use_once(address(Kind::Assertion, "k"), later(), now()).await, full(Kind::Assertion));
    assert_eq!(store.put(sealed(Kind::Code, "c"), now()).await, Err(StoreError::Full { kind: Kind::Code }));
    limit("0");
    assert_eq!(store.use_once(address(Kind::Assertion, "j"), later(), now()).await, Ok(FirstUse::Repeated));
    assert_eq!(store.use_once(address(Kind::Assertion, "k"), later(), now()).await, Ok(FirstUse::First));
}

/// What each thread logged: a test has one of its own. (One subscriber for the process, because tracing forgets places
/// that another thread came by first if each test brings its own.)
static LOGGED: LazyLock<Mutex<HashMap<ThreadId, Vec<u8>>>> = LazyLock::new(|| {
    tracing_subscriber::fmt().with_writer(|| Log).with_ansi(false).init();
    Mutex::default()
});

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.lock().unwrap().entry(std::thread::current().id()).or_default().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Gives, and forgets, what was logged by this test.
fn logged() -> String {
    String::from_utf8(LOGGED.lock().unwrap().remove(&std::thread::current().id()).unwrap_or_default()).unwrap()
}

#[tokio::test]
async fn a_server_that_may_evict_records_is_warned_of() {
    for (policy, is_warned_of) in [("allkeys-lru", true), ("volatile-ttl", true), ("noeviction", false)] {
        logged();
        let (_directory, server) = server(&["--maxmemory", "100mb", "--maxmemory-policy", policy]);
        let store = server.store();
        synced(&store).await;
        let text = logged();
        assert_eq!(text.contains("set maxmemory-policy to noeviction"), is_warned_of, "{policy}: {text}");
    }
}

#[tokio::test]
async fn an_outage_is_logged_once_and_so_is_its_end() {
    logged();
    let directory = TempDir::new().unwrap();
    let mut server = Valkey::start(directory.path(), &["--requirepass", "open-sesame"]);
    let store = RedisStore::open(&format!("redis://:open-sesame@127.0.0.1:{}", server.port()), None).unwrap();
    synced(&store).await;
    server.kill();
    eventually("away", Duration::from_secs(2), async || !store.health().reachable).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.restart();
    eventually("back", Duration::from_secs(3), async || store.health().reachable).await;
    let text = logged();
    let times = |what: &str| text.matches(what).count();
    assert_eq!((times("the store is away"), times("the store is back")), (1, 1), "{text}");
    assert!(!text.contains("sesame"), "{text}");
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let (_directory, server) = server(&[]);
    let store = server.store();
    store.put(sealed(Kind::Code, "c"), now()).await.unwrap();
    redis::cmd("SCRIPT").arg("FLUSH").exec(&mut server.raw()).unwrap();
    store.put(sealed(Kind::Code, "d"), now()).await.unwrap();
}

#[tokio::test]
async fn every_key_has_our_prefix_and_every_record_an_end() {
    let (_directory, server) = server(&[]);
    let store = server.store();
    store.use_once(address(Kind::Assertion, "j"), later(), now()).await.unwrap();
    store.put(sealed(Kind::Code, "c"), now()).await.unwrap();
    store.take(address(Kind::Code, "c"), later(), now()).await.unwrap();
    store.start_family(sealed(Kind::Family, "f"), now()).await.unwrap();
    store.end_family(address(Kind::Family, "f"), later(), now()).await.unwrap();
    store.count(address(Kind::Attempts, "a"), later(), now()).await.unwrap();
    let mut raw = server.raw();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut raw).unwrap();
    assert!(keys.iter().all(|key| key.starts_with("hearthgate:")), "{keys:?}");
    for key in keys.iter().filter(|key| !key.starts_with("hearthgate:revocations")) {
        let lifetime: i64 = redis::cmd("TTL").arg(key).query(&mut raw).unwrap();
        assert!((1..=3_600).contains(&lifetime), "{key} lives {lifetime} s");
    }
}

#[tokio::test]
async fn a_password_opens_the_store_and_a_wrong_one_is_told_without_being_shown() {
    let (_directory, server) = server(&["--requirepass", "open-sesame"]);
    let with =
        |password: &str| RedisStore::open(&format!("redis://:{password}@127.0.0.1:{}/2", server.port()), None).unwrap();
    let store = with("open-sesame");
    synced(&store).await;
    assert_eq!(store.use_once(address(Kind::Assertion, "j"), later(), now()).await, Ok(FirstUse::First));

    let stranger = with("wrong-canary");
    let refused = stranger.use_once(address(Kind::Assertion, "j"), later(), now()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Away { .. }));
    let shown = format!("{refused} {refused:?} {stranger:?} {store:?}");
    assert!(!shown.contains("canary") && !shown.contains("sesame"), "{shown}");
    assert!(!stranger.health().revocations_synced);
}

#[tokio::test]
async fn tls_is_spoken_with_servers_whose_certificate_is_trusted() {
    let directory = TempDir::new().unwrap();
    let (certificate, key, port) = ("server.pem", "server.key", {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
    });
    let pair = KeyPair::generate().unwrap();
    let signed = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&pair).unwrap();
    fs::write(directory.path().join(certificate), signed.pem()).unwrap();
    fs::write(directory.path().join(key), pair.serialize_pem()).unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let _server = Valkey::start(
        directory.path(),
        &[
            "--tls-port",
            &port,
            "--tls-cert-file",
            &path(certificate),
            "--tls-key-file",
            &path(key),
            "--tls-ca-cert-file",
            &path(certificate),
            "--tls-auth-clients",
            "no",
        ],
    );
    let url = format!("rediss://localhost:{port}");
    let store: Arc<dyn Store> = Arc::new(RedisStore::open(&url, Some(signed.pem().as_bytes())).unwrap());
    assert_eq!(store.use_once(address(Kind::Assertion, "j"), later(), now()).await, Ok(FirstUse::First));
    eventually("synced", Duration::from_secs(5), async || store.health().revocations_synced).await;

    let trusting_others = RedisStore::open(&url, None).unwrap();
    assert!(is_away(&trusting_others.use_once(address(Kind::Assertion, "k"), later(), now()).await));
}
