//! What the store in a file must survive: kills, damage, other processes, floods.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures::future::join_all;
use hearthgate::store::{
    Address, EmbeddedStore, FamilyId, FirstUse, Kind, OpenError, Records, Sealer, Store, StoreError, Take,
};
use proptest::prelude::*;
use redb::ReadableDatabase as _;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use crate::support::{GATEWAY, embedded, eventually, later, now, sealing_key, within};

/// How often a process is killed while it writes.
const KILLS: u64 = 20;
/// Tells the child process which file to write to.
const CHILD_FILE: &str = "HEARTHGATE_TEST_STORE";

/// Its key does not matter: what it sealed is not opened.
static SEALER: LazyLock<Sealer> = LazyLock::new(|| Sealer::new(GATEWAY, &sealing_key(), []));

fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("store.redb");
    (directory, path)
}

/// A store and its gateway's records, sealed with a key that outlives it.
async fn open(path: &Path, sealer: &Arc<Sealer>) -> (Arc<dyn Store>, Records) {
    let store: Arc<dyn Store> = Arc::new(embedded(path).await);
    let records = Records::new(Arc::clone(&store), Arc::clone(sealer));
    (store, records)
}

fn sealer() -> Arc<Sealer> {
    Arc::new(Sealer::new(GATEWAY, &sealing_key(), []))
}

fn address(kind: Kind, key: &str) -> Address {
    Address::of(kind, GATEWAY, key)
}

#[tokio::test]
async fn everything_is_there_after_closing_and_opening() {
    let (_directory, path) = place();
    let sealer = sealer();
    let id = FamilyId::random().unwrap();
    let token = {
        let (_store, records) = open(&path, &sealer).await;
        records.put(Kind::Session, "s", &"kept", later(), now()).await.unwrap();
        records.put(Kind::Code, "c", &"code", later(), now()).await.unwrap();
        records.take::<String>(Kind::Code, "c", later(), now()).await.unwrap();
        records.use_once(Kind::Assertion, "j", later(), now()).await.unwrap();
        records.revoke("t", later(), now()).await.unwrap();
        records.start_family(id, &"family", later(), now()).await.unwrap().unwrap()
    };
    let (store, records) = open(&path, &sealer).await;
    assert_eq!(records.get::<String>(Kind::Session, "s", now()).await.unwrap().unwrap().content, "kept");
    let again = Take::Again("code".to_owned());
    assert_eq!(records.take::<String>(Kind::Code, "c", later(), now()).await, Ok(again));
    assert_eq!(records.use_once(Kind::Assertion, "j", later(), now()).await, Ok(FirstUse::Repeated));
    assert!(records.is_revoked("t", None, now()));
    assert!(records.family::<String>(token.expose_secret(), now()).await.unwrap().is_some());
    assert_eq!((store.health().reachable, store.health().revocations_synced), (true, true));
}

#[tokio::test]
async fn a_second_process_is_told_that_the_file_is_in_use() {
    let (_directory, path) = place();
    let _store = embedded(&path).await;
    let error = EmbeddedStore::open(&path).await.unwrap_err();
    assert!(matches!(&error, OpenError::InUse { path: named } if *named == path), "{error:?}");
    assert!(error.to_string().contains("serves one process"), "{error}");
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_an_error_that_names_it() {
    let (directory, _) = place();
    let path = directory.path().join("absent").join("store.redb");
    let error = EmbeddedStore::open(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }) && error.to_string().contains("absent"), "{error}");
}

/// Opens a store where something unusable lies, and checks that it was moved away unchanged.
async fn assert_set_aside(path: &Path, what: &str) {
    let before = fs::read(path).unwrap();
    let store = EmbeddedStore::open(path).await.unwrap();
    let aside = store.set_aside().unwrap_or_else(|| panic!("{what}: taken for a store"));
    assert_eq!(fs::read(&aside.path).unwrap(), before, "{what}: changed");
    let name = aside.path.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("store.redb.corrupt-2"), "{name}");
    assert!(!aside.reason.is_empty());
    assert_eq!(store.use_once(address(Kind::Assertion, "j"), later(), now()).await, Ok(FirstUse::First));
}

#[tokio::test]
async fn what_is_no_store_is_set_aside_and_kept() {
    let (_directory, path) = place();
    fs::write(&path, b"not a database").unwrap();
    assert_set_aside(&path, "text").await;
    fs::write(&path, vec![0; 64 * 1024]).unwrap();
    assert_set_aside(&path, "zeros").await;
    fs::remove_file(&path).unwrap();
    let foreign: redb::TableDefinition<'_, &str, &str> = redb::TableDefinition::new("theirs");
    let database = redb::Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(foreign).unwrap().insert("key", "value").unwrap();
    transaction.commit().unwrap();
    drop(database);
    let aside = EmbeddedStore::open(&path).await.unwrap().set_aside().unwrap().clone();
    assert_eq!(aside.reason, "it is a redb file of another program");
    // It is still theirs.
    let database = redb::Database::open(&aside.path).unwrap();
    let theirs = database.begin_read().unwrap();
    assert_eq!(theirs.open_table(foreign).unwrap().get("key").unwrap().unwrap().value(), "value");
}

#[tokio::test]
async fn a_store_that_was_cut_short_is_set_aside() {
    let (_directory, path) = place();
    filled(&path).await;
    let whole = fs::read(&path).unwrap();
    for length in [1, 100, 4_096, whole.len() / 2, whole.len() - 4_096] {
        fs::write(&path, &whole[..length]).unwrap();
        assert_set_aside(&path, &format!("cut to {length} of {} bytes", whole.len())).await;
        fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn a_store_of_a_later_format_is_left_alone() {
    let (_directory, path) = place();
    drop(embedded(&path).await);
    let about: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("hearthgate-store");
    {
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(about).unwrap().insert("format", 9).unwrap();
        transaction.commit().unwrap();
    }
    let error = EmbeddedStore::open(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::Later { found: 9, .. }), "{error:?}");
}

const FILLED: usize = 200;

/// A store with some records, closed.
async fn filled(path: &Path) {
    let store = embedded(path).await;
    let uses = (0..FILLED).map(|number| store.use_once(address(Kind::Assertion, &number.to_string()), later(), now()));
    assert!(join_all(uses).await.into_iter().all(|used| used == Ok(FirstUse::First)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever byte is damaged: the store is whole, or it is set aside; never does it open and lack something.
    #[test]
    fn no_damage_loses_records_silently(where_ in 0.0..1.0_f64, length in 1..64_usize, with in any::<u8>()) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let (_directory, path) = place();
            filled(&path).await;
            let mut bytes = fs::read(&path).unwrap();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
                reason = "any place within the file will do")]
            let start = (bytes.len() as f64 * where_) as usize;
            let end = (start + length).min(bytes.len());
            bytes[start..end].iter_mut().for_each(|byte| *byte ^= with | 1);
            fs::write(&path, bytes).unwrap();
            let store = EmbeddedStore::open(&path).await.unwrap();
            if store.set_aside().is_none() {
                for number in 0..FILLED {
                    let address = address(Kind::Assertion, &number.to_string());
                    assert_eq!(store.use_once(address, later(), now()).await, Ok(FirstUse::Repeated), "{number}");
                }
            }
        });
    }
}

#[tokio::test]
async fn what_expired_is_swept_out_of_the_file() {
    let (_directory, path) = place();
    let store = embedded(&path).await;
    let (begin, end) = (now(), later());
    for number in 0..20 {
        store.use_once(address(Kind::Assertion, &number.to_string()), end, begin).await.unwrap();
    }
    store.revoke(address(Kind::Revocation, "t"), end, begin).await.unwrap();
    store.use_once(address(Kind::Assertion, "stays"), within(7_200_000), begin).await.unwrap();
    assert_eq!(store.sweep(begin).await, Ok(0));
    assert_eq!(store.sweep(end).await, Ok(21));
    assert_eq!(store.health().revocations, 0);
    assert_eq!(store.use_once(address(Kind::Assertion, "stays"), later(), now()).await, Ok(FirstUse::Repeated));
}

#[tokio::test]
async fn a_flood_of_one_kind_takes_no_room_of_the_others_and_passes() {
    const MOST_LAUNCHES: usize = 50_000;
    let (_directory, path) = place();
    let store = embedded(&path).await;
    let until = within(3_600_000);
    let launch = |number: usize| store.use_once(address(Kind::Launch, &number.to_string()), until, now());
    for start in (0..MOST_LAUNCHES).step_by(1_000) {
        for used in join_all((start..start + 1_000).map(launch)).await {
            assert_eq!(used, Ok(FirstUse::First));
        }
    }
    assert_eq!(launch(MOST_LAUNCHES).await, Err(StoreError::Full { kind: Kind::Launch }));
    assert_eq!(launch(0).await, Ok(FirstUse::Repeated));
    assert_eq!(store.use_once(address(Kind::Assertion, "j"), later(), now()).await, Ok(FirstUse::First));
    drop(store);

    // It is counted anew when the file is opened, and makes room by itself when the old ones have expired.
    let store = embedded(&path).await;
    let another = address(Kind::Launch, "another");
    assert_eq!(store.use_once(another, until, now()).await, Err(StoreError::Full { kind: Kind::Launch }));
    assert_eq!(store.use_once(another, within(9_000_000), until).await, Ok(FirstUse::First));
}

/// Started by the test below, as a process to kill: says on its output what was acknowledged.
#[test]
#[ignore = "it writes until it is killed; the next test runs it"]
fn a_process_that_writes() {
    let Some(path) = std::env::var_os(CHILD_FILE) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Arc::new(embedded(Path::new(&path)).await);
        let sealer = sealer();
        let writers = (0..8).map(|writer| {
            let (store, sealer) = (Arc::clone(&store), Arc::clone(&sealer));
            tokio::spawn(async move {
                for step in 0.. {
                    let key = format!("{}-{writer}-{step}", std::process::id());
                    store.use_once(address(Kind::Assertion, &key), later(), now()).await.unwrap();
                    println!("acknowledged used {key}");
                    let code = address(Kind::Code, &key);
                    store.put(sealer.seal(code, b"content", later()).unwrap(), now()).await.unwrap();
                    println!("acknowledged put {key}");
                    store.take(code, later(), now()).await.unwrap();
                    println!("acknowledged taken {key}");
                    store.revoke(address(Kind::Revocation, &key), later(), now()).await.unwrap();
                    println!("acknowledged revoked {key}");
                }
            })
        });
        join_all(writers).await;
    });
}

fn writing_process(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "embedded::a_process_that_writes", "--ignored", "--nocapture"])
        .env(CHILD_FILE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_kill_while_the_file_is_made_or_opened_leaves_it_usable() {
    let (directory, _) = place();
    for round in 0..KILLS {
        // Made anew in the even rounds, opened in the odd ones.
        let path = directory.path().join(format!("store-{}.redb", round / 2));
        let mut child = writing_process(&path);
        tokio::time::sleep(Duration::from_millis(2 + round * 5)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let store = embedded(&path).await;
        assert_eq!(
            store.use_once(address(Kind::Launch, &round.to_string()), later(), now()).await,
            Ok(FirstUse::First)
        );
    }
}

/// Started by the test below with a limit on the length of files, which stands for a full disk.
#[test]
#[ignore = "it needs a limit on the length of files; the next test runs it"]
fn a_process_on_a_full_disk() {
    let Some(path) = std::env::var_os(CHILD_FILE) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = embedded(Path::new(&path)).await;
        let sealed = |number: usize| {
            SEALER.seal(address(Kind::Session, &number.to_string()), &vec![7; 32 * 1024], later()).unwrap()
        };
        let mut kept = 0;
        while store.put(sealed(kept), now()).await.is_ok() {
            kept += 1;
        }
        println!("full");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        eventually("it writes again", Duration::from_secs(20), async || store.put(sealed(kept), now()).await.is_ok())
            .await;
        assert!(store.health().reachable);
        for number in 0..=kept {
            let address = address(Kind::Session, &number.to_string());
            assert!(store.get(address, now()).await.unwrap().is_some(), "{number} of {kept} is gone");
        }
        println!("kept {kept}");
    });
}

#[test]
fn a_full_disk_loses_nothing_and_is_used_again_when_it_has_room() {
    let (_directory, path) = place();
    // In units of 512 or 1,024 bytes, as the shell likes: 2 or 4 MiB. The signal that goes with the limit is ignored.
    let script = "trap '' XFSZ; ulimit -S -f 4096; exec \"$0\" \"$@\"";
    let mut child = Command::new("sh")
        .args(["-c", script, std::env::current_exe().unwrap().to_str().unwrap()])
        .args(["--exact", "embedded::a_process_on_a_full_disk", "--ignored", "--nocapture"])
        .env(CHILD_FILE, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "full"), "the limit was not met");
    let raised = Command::new("prlimit").args(["--pid", &child.id().to_string(), "--fsize=unlimited"]).status();
    assert!(raised.unwrap().success());
    child.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    let kept = lines.find_map(|line| line.strip_prefix("kept ").map(str::to_owned));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    assert!(kept.unwrap().parse::<usize>().unwrap() > 10);
}

#[tokio::test]
async fn what_was_acknowledged_before_a_kill_is_there_after_it() {
    let (_directory, path) = place();
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    for round in 0..KILLS {
        let mut child = writing_process(&path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.by_ref().find(|line| line.as_ref().unwrap().starts_with("acknowledged")).unwrap().unwrap();
        let reader = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
        // At any moment of a write: odd microseconds, other ones in each round.
        tokio::time::sleep(Duration::from_micros(1 + round * 3_713)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let mut said = reader.join().unwrap();
        // The last line may have been cut by the kill.
        said.pop();
        said.insert(0, first);
        let before = acknowledged.len();
        acknowledged.extend(said.iter().filter_map(|line| {
            let (what, key) = line.strip_prefix("acknowledged ")?.split_once(' ')?;
            Some((what.to_owned(), key.to_owned()))
        }));
        assert!(acknowledged.len() > before);

        let store = embedded(&path).await;
        for (what, key) in &acknowledged[before.saturating_sub(50)..] {
            assert_kept(&store, what, key).await;
        }
    }
    let store = embedded(&path).await;
    for (what, key) in &acknowledged {
        assert_kept(&store, what, key).await;
    }
    println!("{KILLS} kills, {} acknowledged steps, all kept", acknowledged.len());
}

async fn assert_kept(store: &EmbeddedStore, what: &str, key: &str) {
    let kept = match what {
        "used" => store.use_once(address(Kind::Assertion, key), later(), now()).await == Ok(FirstUse::Repeated),
        // Taken since, perhaps: then it is remembered, and cannot be put again.
        "put" | "taken" => {
            let code = address(Kind::Code, key);
            let record = SEALER.seal(code, b"other", later()).unwrap();
            let there = store.get(code, now()).await.unwrap().is_some();
            let refused = store.put(record, now()).await == Err(StoreError::Exists { address: code });
            refused && (what == "put" || !there)
        }
        "revoked" => store.revocations().contains(&address(Kind::Revocation, key), now()),
        _ => panic!("what is {what}?"),
    };
    assert!(kept, "{what} {key} was acknowledged and is gone");
}
