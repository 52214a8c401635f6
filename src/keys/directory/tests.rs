//! What a directory does with keys, whole and damaged. Kills and races between processes are in `tests/keys.rs`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use jiff::Timestamp;
use rstest::rstest;
use tempfile::TempDir;

use super::*;
use crate::keys::make::{make_gateway_keys, make_pair};
use crate::keys::secret::{gateway_secret, pair_secret};
use crate::values::key::{GatewayIdentity, KeyProblem, PairIdentity, PairKind, file};

fn pair(name: &str) -> KeySecret {
    let identity = PairIdentity { app: "schedule-sync".into(), pair: name.into(), revision: 1, kind: PairKind::P384 };
    pair_secret("clinic", &identity, make_pair(PairKind::P384, name, Timestamp::UNIX_EPOCH).unwrap())
}

/// A store with one pair in it, `clinic/first-key-1`.
struct Fixture {
    directory: TempDir,
    store: DirectoryKeyStore,
    first: KeySecret,
    place: PathBuf,
}

fn fixture() -> Fixture {
    let directory = TempDir::new().unwrap();
    let store = DirectoryKeyStore::new(directory.path().join("state/keys"));
    let first = pair("first");
    assert!(matches!(store.create_now(&first), Ok(Created::New)));
    let place = store.path_of("clinic", "first-key-1").unwrap();
    Fixture { directory, store, first, place }
}

/// Every path below a directory, with the content of the files.
fn tree(directory: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(tree(&path));
            found.insert(path, None);
        } else {
            found.insert(path.clone(), Some(fs::read(path).unwrap_or_default()));
        }
    }
    found
}

fn damage(result: Result<impl std::fmt::Debug, KeyStoreError>, expected_path: &Path) -> DamagedKey {
    match result {
        Err(KeyStoreError::Damaged { path, problem }) => {
            assert_eq!(path, expected_path);
            problem
        }
        other => panic!("expected a damaged key, found {other:?}"),
    }
}

#[tokio::test]
async fn a_key_comes_back_as_it_was_kept() {
    let Fixture { directory: _keep, store, first, .. } = fixture();
    let identity = GatewayIdentity { gateway: "north".into(), revision: 1 };
    let gateway = gateway_secret("clinic", &identity, make_gateway_keys().unwrap());
    assert!(matches!(store.create(&gateway).await, Ok(Created::New)));

    assert_eq!(store.get("clinic", "first-key-1").await.unwrap(), Some(first.clone()));
    assert_eq!(store.get("clinic", "north-signing-1").await.unwrap(), Some(gateway.clone()));
    let listing = store.list().await.unwrap();
    assert_eq!(listing.keys, [first, gateway]);
    assert!(listing.damaged.is_empty());
}

#[test]
fn what_was_never_made_is_absent() {
    let Fixture { store, directory, .. } = fixture();
    assert_eq!(store.get_now("clinic", "first-key-2").unwrap(), None);
    assert_eq!(store.get_now("elsewhere", "first-key-1").unwrap(), None);
    let empty = DirectoryKeyStore::new(directory.path().join("nothing/here"));
    assert_eq!(empty.get_now("clinic", "first-key-1").unwrap(), None);
    assert!(empty.list_now().unwrap().keys.is_empty());
    assert!(!directory.path().join("nothing").exists());
}

#[test]
fn nobody_else_may_look_into_it_and_nothing_hidden_is_left() {
    let Fixture { directory, .. } = fixture();
    let state = directory.path().join("state");
    let tree = tree(&state);
    let names: Vec<_> = tree.keys().map(|path| path.strip_prefix(&state).unwrap().to_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "keys",
            "keys/clinic",
            "keys/clinic/first-key-1",
            "keys/clinic/first-key-1/certificate.pem",
            "keys/clinic/first-key-1/jwk.json",
            "keys/clinic/first-key-1/metadata.json",
            "keys/clinic/first-key-1/private.pem",
            "keys/clinic/first-key-1/public.pem",
        ]
    );
    for (path, content) in tree {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if content.is_some() { 0o600 } else { 0o700 }, "{}", path.display());
    }
}

#[test]
fn a_second_key_of_that_name_is_not_written_and_the_first_is_returned() {
    let Fixture { directory, store, first, .. } = fixture();
    let before = tree(directory.path());
    match store.create_now(&pair("first")).unwrap() {
        Created::AlreadyExists(existing) => assert_eq!(*existing, first),
        Created::New => panic!("the key was made twice"),
    }
    assert_eq!(tree(directory.path()), before);
}

#[test]
fn of_many_at_once_one_makes_the_key_and_the_others_get_that_one() {
    let directory = TempDir::new().unwrap();
    for round in 0..20 {
        let store = DirectoryKeyStore::new(directory.path().join(round.to_string()));
        let barrier = std::sync::Barrier::new(8);
        let outcomes: Vec<(KeySecret, Created)> = std::thread::scope(|scope| {
            let attempt = || {
                let key = pair("same");
                barrier.wait();
                let created = store.create_now(&key).unwrap();
                (key, created)
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(attempt)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let kept = store.get_now("clinic", "same-key-1").unwrap().unwrap();
        let mut made = 0;
        for (key, created) in outcomes {
            match created {
                Created::New => {
                    made += 1;
                    assert_eq!(key, kept);
                }
                Created::AlreadyExists(existing) => assert_eq!(*existing, kept),
            }
        }
        assert_eq!(made, 1);
        assert_eq!(fs::read_dir(directory.path().join(round.to_string()).join("clinic")).unwrap().count(), 1);
    }
}

#[rstest]
#[case::private(file::PRIVATE_PEM, DamagedKey::Key(KeyProblem::Missing.in_file(file::PRIVATE_PEM)))]
#[case::public(file::PUBLIC_PEM, DamagedKey::Key(KeyProblem::Missing.in_file(file::PUBLIC_PEM)))]
#[case::certificate(file::CERTIFICATE_PEM, DamagedKey::Key(KeyProblem::Missing.in_file(file::CERTIFICATE_PEM)))]
#[case::jwk(file::JWK_JSON, DamagedKey::Key(KeyProblem::Missing.in_file(file::JWK_JSON)))]
#[case::metadata(METADATA, DamagedKey::NoMetadata)]
fn a_key_that_lacks_a_file_is_an_error_and_is_left_alone(#[case] file: &str, #[case] problem: DamagedKey) {
    let Fixture { directory, store, place, .. } = fixture();
    let second = pair("second");
    store.create_now(&second).unwrap();
    fs::remove_file(place.join(file)).unwrap();
    let before = tree(directory.path());

    assert_eq!(damage(store.get_now("clinic", "first-key-1"), &place), problem);
    assert_eq!(damage(store.create_now(&pair("first")), &place), problem);
    let mut listing = store.list_now().unwrap();
    assert_eq!(listing.keys, [second]);
    assert_eq!(damage(Err::<(), _>(listing.damaged.remove(0)), &place), problem);
    assert!(listing.damaged.is_empty());
    assert_eq!(tree(directory.path()), before);
}

#[test]
fn an_empty_directory_is_damage_and_not_a_place_for_a_new_key() {
    let Fixture { directory: _keep, store, place, .. } = fixture();
    fs::remove_dir_all(&place).unwrap();
    fs::create_dir(&place).unwrap();
    assert_eq!(damage(store.create_now(&pair("first")), &place), DamagedKey::NoMetadata);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
}

#[rstest]
#[case::cut_off(
    file::PRIVATE_PEM,
    "-----BEGIN PRIVATE KEY-----\nMIG2",
    DamagedKey::Key(KeyProblem::DamagedPem.in_file(file::PRIVATE_PEM))
)]
#[case::emptied(
    file::PRIVATE_PEM,
    "",
    DamagedKey::Key(KeyProblem::NoPem { expected: "PRIVATE KEY" }.in_file(file::PRIVATE_PEM))
)]
#[case::emptied_certificate(
    file::CERTIFICATE_PEM,
    "",
    DamagedKey::Key(KeyProblem::NoPem { expected: "CERTIFICATE" }.in_file(file::CERTIFICATE_PEM))
)]
#[case::other_type(
    METADATA,
    r#"{"type": "Opaque", "labels": {}, "annotations": {}}"#,
    DamagedKey::UnknownType { found: "Opaque".into() }
)]
#[case::no_json(METADATA, "{", DamagedKey::Metadata { reason: "EOF while parsing an object at line 1 column 1".into() })]
fn a_key_with_a_broken_file_is_an_error_naming_it(
    #[case] file: &str,
    #[case] content: &str,
    #[case] problem: DamagedKey,
) {
    let Fixture { directory: _keep, store, place, .. } = fixture();
    fs::write(place.join(file), content).unwrap();
    assert_eq!(damage(store.get_now("clinic", "first-key-1"), &place), problem);
    assert_eq!(damage(store.create_now(&pair("first")), &place), problem);
}

#[rstest]
#[case(file::PUBLIC_PEM)]
#[case(file::CERTIFICATE_PEM)]
#[case(file::JWK_JSON)]
fn a_key_whose_halves_are_of_two_keys_is_an_error(#[case] file: &'static str) {
    let Fixture { directory: _keep, store, place, .. } = fixture();
    fs::write(place.join(file), pair("other").data[file].expose()).unwrap();
    assert_eq!(
        damage(store.get_now("clinic", "first-key-1"), &place),
        DamagedKey::Key(KeyProblem::OtherKey.in_file(file))
    );
}

#[test]
fn a_file_too_large_for_a_key_is_not_read() {
    let Fixture { directory: _keep, store, place, .. } = fixture();
    fs::write(place.join("notes"), vec![0; 65 * 1024]).unwrap();
    assert_eq!(damage(store.get_now("clinic", "first-key-1"), &place), DamagedKey::TooLarge { file: "notes".into() });
}

#[test]
fn links_are_not_followed() {
    let Fixture { directory, store, place, .. } = fixture();
    let link = place.with_file_name("linked-key-1");
    symlink(&place, &link).unwrap();
    assert_eq!(damage(store.get_now("clinic", "linked-key-1"), &link), DamagedKey::NotADirectory);
    assert_eq!(damage(store.create_now(&pair("linked")), &link), DamagedKey::NotADirectory);
    assert!(link.is_symlink());

    let namespace = directory.path().join("state/keys/other");
    symlink(place.parent().unwrap(), &namespace).unwrap();
    assert_eq!(damage(store.get_now("other", "first-key-1"), &namespace), DamagedKey::NotADirectory);
    let elsewhere = KeySecret { namespace: "other".into(), ..pair("third") };
    assert_eq!(damage(store.create_now(&elsewhere), &namespace), DamagedKey::NotADirectory);

    let moved = directory.path().join("private.pem");
    fs::rename(place.join(file::PRIVATE_PEM), &moved).unwrap();
    symlink(&moved, place.join(file::PRIVATE_PEM)).unwrap();
    assert_eq!(
        damage(store.get_now("clinic", "first-key-1"), &place),
        DamagedKey::NotAFile { file: "private.pem".into() }
    );
}

#[test]
fn a_file_in_a_keys_place_is_an_error_and_is_left_alone() {
    let Fixture { directory: _keep, store, place, .. } = fixture();
    let file = place.with_file_name("second-key-1");
    fs::write(&file, "mine").unwrap();
    assert_eq!(damage(store.create_now(&pair("second")), &file), DamagedKey::NotADirectory);
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn what_a_dead_process_left_is_ignored() {
    let Fixture { directory: _keep, store, first, place, .. } = fixture();
    let left = place.with_file_name(".new-0123");
    fs::create_dir(&left).unwrap();
    fs::write(left.join(file::PRIVATE_PEM), "-----BEGIN PRIV").unwrap();
    let listing = store.list_now().unwrap();
    assert_eq!((listing.keys, listing.damaged.len()), (vec![first], 0));
}

#[rstest]
fn a_name_that_might_lead_elsewhere_never_becomes_a_path(
    #[values(
        "",
        ".",
        "..",
        "../clinic",
        "a/b",
        "/etc",
        ".hidden",
        "a..b",
        "UPPER",
        "under_score",
        "-a",
        "a-",
        "a\0b",
        "ä"
    )]
    name: &str,
) {
    let Fixture { directory, store, first, .. } = fixture();
    let before = tree(directory.path());
    for (namespace, secret) in [(name, "first-key-1"), ("clinic", name)] {
        let key = KeySecret { namespace: namespace.into(), name: secret.into(), ..first.clone() };
        assert!(matches!(store.create_now(&key), Err(KeyStoreError::InvalidName { .. })));
        assert!(matches!(store.get_now(namespace, secret), Err(KeyStoreError::InvalidName { .. })));
    }
    assert_eq!(tree(directory.path()), before);
}

#[test]
fn names_have_the_lengths_that_kubernetes_allows() {
    let Fixture { directory: _keep, store, .. } = fixture();
    assert!(store.path_of(&"n".repeat(63), &"s".repeat(253)).is_ok());
    assert!(store.path_of(&"n".repeat(64), "s").is_err());
    assert!(store.path_of("n", &"s".repeat(254)).is_err());
    assert!(store.path_of("dotted.namespace", "s").is_err());
    assert!(store.path_of("n", "dotted.secret").is_ok());
}

#[test]
fn a_key_that_does_not_hold_together_is_never_written() {
    let Fixture { directory, store, .. } = fixture();
    let before = tree(directory.path());
    let mut key = pair("second");
    key.data.insert(file::PUBLIC_PEM.into(), pair("other").data[file::PUBLIC_PEM].clone());
    assert_eq!(
        store.create_now(&key).unwrap_err().to_string(),
        "the key that was to be kept as clinic/second-key-1 is not usable: \
         public.pem does not fit private.pem: it holds another key"
    );
    assert_eq!(tree(directory.path()), before);
}

#[test]
fn a_write_that_fails_half_way_leaves_nothing_behind() {
    let Fixture { directory, store, .. } = fixture();
    let before = tree(directory.path());
    let mut key = pair("second");
    // Sorts behind the others, and is longer than a file name may be.
    key.data.insert("z".repeat(300), SecretBytes::new(Vec::new()));
    assert!(matches!(store.create_now(&key), Err(KeyStoreError::Io { doing: Doing::Write, .. })));
    assert_eq!(tree(directory.path()), before);
}

#[test]
fn a_root_that_is_no_directory_is_named_in_the_error() {
    let directory = TempDir::new().unwrap();
    let root = directory.path().join("keys");
    fs::write(&root, "a file").unwrap();
    let store = DirectoryKeyStore::new(&root);
    for error in [
        store.create_now(&pair("first")).unwrap_err(),
        store.get_now("clinic", "first-key-1").unwrap_err(),
        store.list_now().unwrap_err(),
    ] {
        assert!(error.to_string().contains(root.to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_key_that_others_may_read_is_still_read() {
    let Fixture { directory: _keep, store, first, place } = fixture();
    fs::set_permissions(place.join(file::PRIVATE_PEM), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(store.get_now("clinic", "first-key-1").unwrap(), Some(first));
}
