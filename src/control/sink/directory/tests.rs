use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::*;
use crate::api::activation::{KeyState, KeyStatus};
use crate::control::status::ObjectStatus;
use crate::outbound::testing::pair_of;
use crate::snapshot::resources::{Observed, ObservedActivation};
use crate::snapshot::{Kind, ObjectReference};

fn recorded() -> Recorded {
    let key = KeyStatus {
        revision: 1,
        kid: "kid".into(),
        thumbprint: "kid".into(),
        state: KeyState::Signing,
        secret_name: "act-key-1".into(),
        certificate_fingerprint: None,
        not_after: None,
        signing_since: Some("2026-06-10T12:00:00Z".into()),
    };
    let activation = ObservedActivation { keys: vec![key], accepted_before: true };
    Recorded {
        objects: vec![Arc::new(ObjectStatus {
            object: ObjectReference::new(Kind::Activation, ObjectKey::new("default", "act")),
            uid: "uid".into(),
            generation: 3,
            status: Arc::new(json!({"observedGeneration": 3})),
        })],
        observed: Observed {
            activations: [("default/act".to_owned(), Arc::new(activation))].into(),
            gateways: [("default/gate".to_owned(), 2)].into(),
        },
    }
}

async fn open(state: &Path) -> Opened {
    DirectorySink::open(state).await.unwrap()
}

#[tokio::test]
async fn what_was_written_is_read_back_and_reaches_the_compiler() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let opened = open(&state).await;
    assert_eq!((&opened.recorded, &opened.warnings), (&Recorded::default(), &vec![]));
    opened.sink.write(&recorded()).await.unwrap();
    assert_eq!(opened.kept.borrow().observed, recorded().observed);
    let key = pair_of(1);
    assert!(matches!(opened.sink.key_store().create(&key).await.unwrap(), crate::keys::Created::New));
    opened.sink.deliver(&key);
    let name = ObjectKey::new("default", "act-key-1");
    assert!(opened.kept.borrow().secrets.contains_key(&name));
    drop(opened);

    let again = open(&state).await;
    assert_eq!((&again.recorded, &again.warnings), (&recorded(), &vec![]));
    assert_eq!(again.kept.borrow().observed, recorded().observed);
    assert_eq!(again.kept.borrow().secrets[&name].usage, SecretUse::KeyPair);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&state.join(STATUS_FILE))), (0o700, 0o600));
    assert_eq!(fs::read_to_string(state.join(".gitignore")).unwrap(), "*\n");
    assert!(!fs::read_to_string(state.join(STATUS_FILE)).unwrap().contains("PRIVATE"));
}

#[tokio::test]
async fn two_processes_never_share_a_state() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path()).await;
    let refused = DirectorySink::open(directory.path()).await.unwrap_err();
    let expected = format!(
        "{} is in use by another hearthgate: stop it, or choose another directory with --state",
        directory.path().display()
    );
    assert_eq!(refused.to_string(), expected);
    drop(first);
    open(directory.path()).await;
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_told_never_emptied() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(STATUS_FILE);
    for (number, damage) in
        ["", "{\"version\":1,\"objects\":[{", "{\"version\":1,\"objects\":7,\"observed\":{}}"].iter().enumerate()
    {
        fs::write(&path, damage).unwrap();
        let opened = open(directory.path()).await;
        assert_eq!(opened.recorded, Recorded::default());
        assert_eq!(opened.warnings.len(), 1, "{:?}", opened.warnings);
        let aside = directory.path().join(format!("status.json.damaged-{}", number + 1));
        assert_eq!(&fs::read_to_string(aside).unwrap(), damage);
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn a_file_of_another_release_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(STATUS_FILE);
    fs::write(&path, r#"{"version":2,"secrets of the future":[]}"#).unwrap();
    assert!(matches!(DirectorySink::open(directory.path()).await, Err(StateError::Version { found: 2, .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"version":2,"secrets of the future":[]}"#);
}

#[tokio::test]
async fn a_crash_while_writing_leaves_the_old_or_the_new_file() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path()).await;
    opened.sink.write(&recorded()).await.unwrap();
    // What a killed writer leaves behind, at any length.
    let whole = fs::read(directory.path().join(STATUS_FILE)).unwrap();
    drop(opened);
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(directory.path().join("status.json.new"), &whole[..length]).unwrap();
        let opened = open(directory.path()).await;
        assert_eq!((&opened.recorded, &opened.warnings), (&recorded(), &vec![]));
        opened.sink.write(&recorded()).await.unwrap();
        drop(opened);
        assert_eq!(fs::read(directory.path().join(STATUS_FILE)).unwrap(), whole);
    }
}

#[tokio::test]
async fn a_write_that_fails_is_told_and_changes_nothing_that_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path()).await;
    // A directory in the temporary file's place makes the write fail for any user, root too.
    fs::create_dir(directory.path().join("status.json.new")).unwrap();
    let failed = opened.sink.write(&recorded()).await.unwrap_err();
    assert!(failed.to_string().starts_with("cannot write status.json: "), "{failed}");
    assert_eq!(opened.kept.borrow().observed, Observed::default());
}
