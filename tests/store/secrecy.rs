//! Nothing that anybody could use stands in what the stores keep.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hearthgate::store::{FamilyId, Kind, Records};
use secrecy::ExposeSecret as _;

use crate::support::{Backend, Place, Valkey, embedded, later, now, records};

const CANARY: &str = "canary-7f3a9c";

/// Lets a canary through every step, and gives the refresh tokens that came of it.
async fn use_everything(records: &Records) -> Vec<String> {
    let until = later();
    for kind in Kind::ALL {
        records.count(kind, CANARY, until, now()).await.unwrap();
        records.use_once(kind, &format!("{CANARY}-once"), until, now()).await.unwrap();
        records.put(kind, &format!("{CANARY}-{kind}"), &CANARY, until, now()).await.unwrap();
    }
    records.replace(Kind::Session, &format!("{CANARY}-session"), 1, &CANARY, until, now()).await.unwrap();
    records.take::<String>(Kind::Code, &format!("{CANARY}-code"), until, now()).await.unwrap();
    records.revoke(CANARY, until, now()).await.unwrap();
    let mut tokens = Vec::new();
    let id = FamilyId::random().unwrap();
    tokens.push(records.start_family(id, &CANARY, until, now()).await.unwrap().unwrap());
    let family = records.family::<String>(tokens[0].expose_secret(), now()).await.unwrap().unwrap();
    let hearthgate::store::Rotated::Next(next) = records.rotate(&family, until, until, now()).await.unwrap() else {
        panic!("not rotated")
    };
    tokens.push(next);
    tokens.iter().map(|token| token.expose_secret().to_owned()).collect()
}

/// All bytes of all files below a directory.
fn bytes_below(directory: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        bytes.extend(if path.is_dir() { bytes_below(&path) } else { fs::read(&path).unwrap() });
    }
    bytes
}

fn assert_keeps_secrets(bytes: &[u8], tokens: &[String]) {
    let holds = |secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
    assert!(holds(b"hearthgate"), "these are not the store's bytes");
    let mut secrets: Vec<Vec<u8>> = vec![CANARY.into(), STANDARD.encode(CANARY).into(), b"clinic/epic".to_vec()];
    for token in tokens {
        let raw = URL_SAFE_NO_PAD.decode(token.strip_prefix("hgr_").unwrap()).unwrap();
        // The whole token, its family's ID, its proof.
        secrets.extend([token.clone().into_bytes(), raw[..16].to_vec(), raw[24..].to_vec()]);
    }
    for secret in secrets {
        assert!(!holds(&secret), "the store holds {:?}", String::from_utf8_lossy(&secret));
    }
}

#[tokio::test]
async fn the_embedded_file_holds_no_secret() {
    let place = Place::open(Backend::Embedded).await;
    let tokens = use_everything(&place.records[0]).await;
    assert_keeps_secrets(&bytes_below(place.directory.path()), &tokens);
}

#[tokio::test]
async fn the_embedded_file_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let _store = embedded(&path).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn neither_dump_nor_log_of_the_server_holds_a_secret() {
    let directory = tempfile::tempdir().unwrap();
    let server = Valkey::start(directory.path(), &["--appendonly", "yes", "--rdbcompression", "no"]);
    let records = records(&[std::sync::Arc::new(server.store())]).remove(0);
    let tokens = use_everything(&records).await;
    redis::cmd("SAVE").exec(&mut server.raw()).unwrap();
    assert!(directory.path().join("dump.rdb").exists());
    assert!(directory.path().join("appendonlydir").exists());
    assert_keeps_secrets(&bytes_below(directory.path()), &tokens);
}
