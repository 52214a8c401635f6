//! A real directory, watched: what is written becomes visible within a second, and what is broken changes nothing.

#![expect(clippy::panic, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hearthgate::snapshot::resources::{Kept, Kind, Location, ObjectKey, ObjectReference, Resources, Secret, SecretUse};
use hearthgate::source::{self, DirectorySource};
use hearthgate::values::code::Code;
use hearthgate::values::secret::SecretBytes;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A directory that is being watched.
struct Watched {
    directory: TempDir,
    resources: watch::Receiver<Option<Arc<Resources>>>,
    kept: watch::Sender<Arc<Kept>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Watched {
    /// Starts on a directory that the function fills first.
    fn start(fill: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(directory.path().join("config")).expect("the directory can be made");
        fill(&directory.path().join("config"));
        Self::start_in(directory)
    }

    fn start_in(directory: TempDir) -> Self {
        let config = directory.path().join("config");
        let (kept, receiver) = watch::channel(Arc::default());
        let (source, resources) =
            DirectorySource::open(&config, &config.join(".hearthgate"), receiver, Uuid::new_v4).expect("it opens");
        let stop = CancellationToken::new();
        let task = tokio::spawn(source.run(stop.clone()));
        Self { directory, resources, kept, stop, task }
    }

    async fn restart(self) -> Self {
        self.stop.cancel();
        self.task.await.expect("it ends in peace");
        Self::start_in(self.directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("config").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("the file can be written");
    }

    fn now(&self) -> Arc<Resources> {
        self.resources.borrow().clone().expect("what was read at the start")
    }

    fn names(&self) -> Vec<String> {
        self.now().apps.keys().map(|key| key.name.clone()).collect()
    }

    fn messages(&self) -> Vec<String> {
        let resources = self.now();
        resources.rejections.iter().map(|rejection| format!("{}: {}", rejection.location, rejection.message)).collect()
    }

    fn description(&self, name: &str) -> Option<String> {
        self.now().apps.get(&key(name))?.spec.description.clone()
    }

    fn identity(&self, name: &str) -> (String, i64) {
        let resources = self.now();
        let app = resources.apps.get(&key(name)).unwrap_or_else(|| panic!("no app {name}"));
        (app.metadata.uid.clone().expect("a UID"), app.metadata.generation.expect("a generation"))
    }

    /// Waits until something is so. A second is promised; on two cores that other tests use too it may take longer.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let seen = timeout(Duration::from_secs(3), async {
            while !is_so(self) {
                self.resources.changed().await.expect("the source runs");
            }
        });
        let was_seen = seen.await.is_ok();
        assert!(was_seen, "not in time: {what}; there are {:?}, refused {:?}", self.names(), self.messages());
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn app(name: &str, description: &str) -> String {
    format!(
        "---\napiVersion: hearthgate.dev/v1alpha1\nkind: App\nmetadata:\n  name: {name}\nspec:\n  clientType: BackendService\n  jwksUri: https://app.example.org/jwks.json\n  description: {description}\n"
    )
}

fn secret(name: &str, value: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  labels: {{hearthgate.dev/use: credential}}\nstringData:\n  secret: {value}\n"
    )
}

/// Long enough for anything that would be seen to be seen.
async fn a_while() {
    sleep(Duration::from_millis(700)).await;
}

#[tokio::test]
async fn what_editors_do_is_seen() {
    let mut watched = Watched::start(|config| fs::write(config.join("a.yaml"), app("a", "one")).expect("written"));
    assert_eq!(watched.names(), ["a"]);

    watched.write("a.yaml", &app("a", "two"));
    watched.until("a plain write", |now| now.description("a").as_deref() == Some("two")).await;

    watched.write(".a.yaml.swp", &app("a", "three"));
    fs::rename(watched.path(".a.yaml.swp"), watched.path("a.yaml")).expect("renamed");
    watched.until("a rename over the file", |now| now.description("a").as_deref() == Some("three")).await;

    fs::rename(watched.path("a.yaml"), watched.path("a.yaml~")).expect("renamed");
    watched.write("a.yaml", &app("a", "four"));
    watched.until("a backup and a new file", |now| now.description("a").as_deref() == Some("four")).await;

    watched.write("b.yml", &app("b", "one"));
    watched.until("a new file", |now| now.names() == ["a", "b"]).await;

    fs::remove_file(watched.path("a.yaml")).expect("removed");
    watched.until("a removed file", |now| now.names() == ["b"]).await;

    fs::create_dir_all(watched.path("deep/er")).expect("made");
    watched.write("deep/er/c.json", r#"{"apiVersion": "hearthgate.dev/v1alpha1", "kind": "App", "metadata": {"name": "c"}, "spec": {"clientType": "BackendService", "jwksUri": "https://c.example/"}}"#);
    watched.until("a file in new folders", |now| now.names() == ["b", "c"]).await;

    watched.write("deep/er/d.yaml", &app("d", "one"));
    watched.until("a file in a folder that was new", |now| now.names() == ["b", "c", "d"]).await;

    fs::remove_dir_all(watched.path("deep")).expect("removed");
    watched.until("a removed folder", |now| now.names() == ["b"]).await;
    assert_eq!(watched.messages(), Vec::<String>::new());
}

#[tokio::test]
async fn a_config_map_s_swap_is_seen() {
    let fill = |config: &Path, version: &str| {
        fs::create_dir(config.join(version)).expect("made");
        fs::write(config.join(version).join("a.yaml"), app("a", version.trim_start_matches('.'))).expect("written");
        symlink(version, config.join("..data_tmp")).expect("linked");
        fs::rename(config.join("..data_tmp"), config.join("..data")).expect("swapped");
    };
    let mut watched = Watched::start(|config| {
        fill(config, "..one");
        symlink("..data/a.yaml", config.join("a.yaml")).expect("linked");
    });
    assert_eq!(watched.description("a").as_deref(), Some("one"));
    for version in ["..two", "..three"] {
        fill(&watched.path(""), version);
        let expected = version.trim_start_matches('.').to_owned();
        watched.until("a swap", |now| now.description("a") == Some(expected.clone())).await;
    }
    fs::remove_dir_all(watched.path("..one")).expect("removed");
    assert_eq!(watched.identity("a").1, 3);
    assert_eq!(watched.messages(), Vec::<String>::new());
}

#[tokio::test]
async fn a_file_that_is_half_written_loses_nothing() {
    let mut watched = Watched::start(|config| {
        fs::write(config.join("a.yaml"), app("a", "one") + &app("b", "one")).expect("written");
    });
    let before = watched.identity("b");
    // As an editor that truncates and is slow: first nothing, then half of it, then all.
    watched.write("a.yaml", "");
    sleep(Duration::from_millis(220)).await;
    watched.write("a.yaml", &app("a", "two"));
    watched.until("the first half", |now| now.description("a").as_deref() == Some("two")).await;
    assert_eq!(watched.names(), ["a", "b"]);
    watched.write("a.yaml", &(app("a", "two") + &app("b", "two")));
    watched.until("the second half", |now| now.description("b").as_deref() == Some("two")).await;
    assert_eq!(watched.identity("b"), (before.0, 2));

    watched.write("a.yaml", "# nothing any more\n");
    watched.until("a file that is really empty", |now| now.names().is_empty()).await;
}

#[tokio::test]
async fn a_broken_edit_keeps_what_was_there() {
    let mut watched = Watched::start(|config| {
        fs::write(config.join("a.yaml"), app("a", "one") + &app("b", "one")).expect("written");
        fs::write(config.join("c.yaml"), app("c", "one")).expect("written");
    });
    let before = watched.identity("a");

    watched.write("a.yaml", &(app("a", "two").replace("BackendService", "Backend") + &app("b", "two")));
    watched.until("a broken object", |now| now.description("b").as_deref() == Some("two")).await;
    assert_eq!(
        watched.messages(),
        ["a.yaml:7:15: spec.clientType: must be one of Public, Confidential, BackendService"]
    );
    assert_eq!(watched.description("a").as_deref(), Some("one"));
    assert_eq!(watched.identity("a"), before);
    let rejected = watched.now().rejections[0].clone();
    assert_eq!(rejected.object, Some(ObjectReference::new(Kind::App, key("a"))));
    assert_eq!(rejected.code, Code::InvalidSpec);

    watched.write("a.yaml", &(app("a", "three") + "  more: [1, 2\n"));
    watched
        .until("a file that is no YAML", |now| now.messages().iter().any(|text| text.contains("not valid YAML")))
        .await;
    a_while().await;
    assert_eq!(watched.names(), ["a", "b", "c"]);
    assert_eq!(watched.description("b").as_deref(), Some("two"));

    // Without its name, only its file tells which objects it may be.
    watched.write("a.yaml", &app("a", "three").replace("  name: a", "  nam: a"));
    watched
        .until("an object without a name", |now| now.messages().iter().any(|text| text.contains("metadata.name")))
        .await;
    a_while().await;
    assert_eq!(watched.names(), ["a", "b", "c"]);

    watched.write("a.yaml", &app("a", "four"));
    watched.until("a good edit", |now| now.names() == ["a", "c"]).await;
    assert_eq!(watched.messages(), Vec::<String>::new());
    assert_eq!(watched.identity("a"), (before.0, 2));
}

#[tokio::test]
async fn what_must_not_change_does_not_change_over_a_restart_either() {
    let with_id = |id: &str| app("a", "one") + &format!("  clientId: {id}\n");
    let mut watched = Watched::start(|config| fs::write(config.join("a.yaml"), with_id("first")).expect("written"));
    let before = watched.identity("a");
    watched.write("a.yaml", &with_id("second"));
    let immutable =
        "a.yaml:10:13: spec.clientId: clientId is immutable: apps in the field know it; register a new App instead";
    watched.until("a change that is not allowed", |now| now.messages() == [immutable]).await;
    assert_eq!(watched.now().apps[&key("a")].spec.client_id.as_deref(), Some("first"));

    let mut watched = watched.restart().await;
    assert_eq!(watched.messages(), [immutable]);
    assert_eq!(watched.names(), Vec::<String>::new(), "at the start it is absent");

    watched.write("a.yaml", &with_id("first"));
    watched.until("the old ID again", |now| now.names() == ["a"]).await;
    assert_eq!(watched.identity("a"), before);
}

#[tokio::test]
async fn identities_survive_a_restart_and_not_a_removal() {
    let mut watched = Watched::start(|config| {
        fs::write(config.join("a.yaml"), app("a", "one")).expect("written");
        fs::write(config.join("b.yaml"), app("b", "one")).expect("written");
    });
    watched.write("a.yaml", &app("a", "two"));
    watched.until("an edit", |now| now.description("a").as_deref() == Some("two")).await;
    let (uid, _) = watched.identity("a");

    let watched = watched.restart().await;
    assert_eq!(watched.identity("a"), (uid.clone(), 2));

    // Edited while nobody looked, and the other one is unreadable at the start.
    let (uid_b, _) = watched.identity("b");
    watched.stop.cancel();
    watched.write("a.yaml", &app("a", "three"));
    watched.write("b.yaml", "{");
    let mut watched = watched.restart().await;
    assert_eq!(watched.identity("a"), (uid.clone(), 3));
    assert_eq!(watched.names(), ["a"]);
    watched.write("b.yaml", &app("b", "one"));
    watched.until("the file is readable again", |now| now.names() == ["a", "b"]).await;
    assert_eq!(watched.identity("b"), (uid_b, 1));

    fs::remove_file(watched.path("a.yaml")).expect("removed");
    watched.until("a removed file", |now| now.names() == ["b"]).await;
    watched.write("a.yaml", &app("a", "three"));
    watched.until("it is back", |now| now.names() == ["a", "b"]).await;
    assert_ne!(watched.identity("a").0, uid);
    assert_eq!(watched.identity("a").1, 1);
}

#[tokio::test]
async fn the_directory_itself_may_come_late_and_be_replaced() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = directory.path().join("config");
    let state = tempfile::tempdir().expect("a temporary directory");
    let (kept, receiver) = watch::channel(Arc::default());
    let (source, resources) = DirectorySource::open(&config, state.path(), receiver, Uuid::new_v4).expect("it opens");
    let stop = CancellationToken::new();
    let task = tokio::spawn(source.run(stop.clone()));
    let mut watched = Watched { directory, resources, kept, stop, task };
    assert_eq!(watched.messages(), [".:1:1: cannot be read: No such file or directory (os error 2)"]);

    fs::create_dir(&config).expect("made");
    watched.write("a.yaml", &app("a", "one"));
    watched.until("the directory is there", |now| now.names() == ["a"]).await;

    fs::create_dir(watched.directory.path().join("new")).expect("made");
    fs::write(watched.directory.path().join("new/b.yaml"), app("b", "one")).expect("written");
    fs::rename(&config, watched.directory.path().join("old")).expect("renamed");
    watched.until("the directory is gone", |now| !now.messages().is_empty()).await;
    assert_eq!(watched.names(), ["a"], "a directory that is gone removes nothing");
    fs::rename(watched.directory.path().join("new"), &config).expect("renamed");
    watched.until("another directory", |now| now.names() == ["b"]).await;
    watched.write("b.yaml", &(app("b", "one") + &app("c", "one")));
    watched.until("an edit in the other directory", |now| now.names() == ["b", "c"]).await;
}

#[tokio::test]
async fn secrets_that_did_not_change_stay_the_same_value() {
    let mut watched = Watched::start(|config| {
        fs::write(config.join("a.yaml"), secret("one", "hunter2") + &secret("two", "hunter3")).expect("written");
        let unlabelled = secret("three", "hunter4").replace("hearthgate.dev/use: credential", "");
        fs::write(config.join("b.yaml"), unlabelled).expect("written");
    });
    let before = watched.now().secrets.clone();
    assert_eq!(before.keys().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    watched.write("a.yaml", &(secret("one", "hunter2") + &secret("two", "changed")));
    watched.until("a changed Secret", |now| now.now().secrets[&key("two")].data["secret"].expose() == b"changed").await;
    let after = watched.now().secrets.clone();
    assert!(Arc::ptr_eq(&before[&key("one")], &after[&key("one")]));
    assert!(!Arc::ptr_eq(&before[&key("two")], &after[&key("two")]));
}

#[tokio::test]
async fn what_the_control_plane_keeps_is_delivered_at_once() {
    let mut watched =
        Watched::start(|config| fs::write(config.join("a.yaml"), secret("pair", "mine")).expect("written"));
    let generated = Arc::new(Secret::new(
        key("pair"),
        SecretUse::KeyPair,
        BTreeMap::new(),
        BTreeMap::from([("private.pem".to_owned(), SecretBytes::new(vec![1, 2, 3]))]),
    ));
    let secrets = BTreeMap::from([(key("pair"), Arc::clone(&generated))]);
    watched.kept.send_replace(Arc::new(Kept { secrets, ..Kept::default() }));
    watched.until("the key", |now| Arc::ptr_eq(&now.now().secrets[&key("pair")], &generated)).await;
    assert_eq!(
        watched.messages(),
        [
            "a.yaml:2:1: Secret default/pair is also in the key store, which is used: remove it here, or bring the key as a Secret of another name"
        ]
    );
}

#[tokio::test]
async fn reading_is_not_taken_for_a_change() {
    let watched = Watched::start(|config| fs::write(config.join("a.yaml"), app("a", "one")).expect("written"));
    a_while().await;
    let mut resources = watched.resources.clone();
    resources.mark_unchanged();
    for _ in 0..20 {
        let _ = fs::read(watched.path("a.yaml"));
        watched.write(".hidden.yaml", &app("b", "one"));
        sleep(Duration::from_millis(20)).await;
    }
    a_while().await;
    assert!(!resources.has_changed().expect("the source runs"));
}

#[test]
fn a_directory_is_read_offline_with_every_place_known() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let outside = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("written");
    fs::create_dir_all(directory.path().join("sub/.git")).expect("made");
    write("a.yaml", &(app("a", "one") + &app("b", "one") + &secret("s", "hunter2")));
    write("b.yaml", &app("b", "again"));
    write(
        "sub/list.yml",
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: hearthgate.dev/v1alpha1\n  kind: App\n  metadata: {name: c, namespace: other}\n  spec:\n    clientType: BackendService\n    jwksUri: https://c.example/\n    scopes: [one, two]\n",
    );
    write("sub/.git/x.yaml", &app("hidden", "one"));
    write("sub/values.yaml", "replicas: 3\n");
    write("kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n");
    write("notes.txt", "kind: App\n");
    write("z.yaml", "kind: App\n");
    write("latin.yaml", "");
    fs::write(directory.path().join("latin.yaml"), b"a: \xe4\n").expect("written");
    fs::write(directory.path().join("large.yaml"), vec![b' '; (1 << 20) + 1]).expect("written");
    fs::write(outside.path().join("passwords.yaml"), app("stolen", "one")).expect("written");
    symlink(outside.path().join("passwords.yaml"), directory.path().join("link.yaml")).expect("linked");
    symlink(outside.path(), directory.path().join("folder")).expect("linked");

    let loaded = source::read(&[directory.path().to_path_buf()]);
    let prefix = format!("{}/", directory.path().display());
    let objects: Vec<_> = loaded.objects.keys().map(ToString::to_string).collect();
    assert_eq!(objects, ["App default/a", "App default/b", "App other/c", "Secret default/s"]);
    let mut rejections: Vec<_> = loaded
        .rejections
        .iter()
        .map(|rejection| format!("{}: {}", rejection.location, rejection.message).replace(&prefix, ""))
        .collect();
    rejections.sort();
    assert_eq!(
        rejections,
        [
            "b.yaml:5:9: App default/b stands in a.yaml:14:9 too, which is used: keep one of the two",
            "folder:1:1: is a link that leads out of the directory: put the file itself here",
            "large.yaml:1:1: is larger than 1 MiB: split it",
            "latin.yaml:1:1: is not UTF-8 text (first at byte 3)",
            "link.yaml:1:1: is a link that leads out of the directory: put the file itself here",
            "z.yaml:1:1: apiVersion: is required: write hearthgate.dev/v1alpha1",
        ]
    );
    let ignored: Vec<_> = loaded
        .ignored
        .iter()
        .map(|ignored| format!("{}: {}", ignored.location, ignored.what).replace(&prefix, ""))
        .collect();
    assert_eq!(
        ignored,
        [
            "kustomization.yaml:1:1: Kustomization of kustomize.config.k8s.io/v1beta1",
            "sub/values.yaml:1:1: a document without apiVersion and kind",
        ]
    );
    let c = ObjectReference::new(Kind::App, ObjectKey::new("other", "c"));
    let list = format!("{prefix}sub/list.yml");
    assert_eq!(loaded.locate(&c, "spec.scopes[1]"), Some(Location { file: list, line: 10, column: 19 }));
    let text = loaded.text_of(&format!("{prefix}a.yaml")).expect("the text is kept");
    assert!(text.contains("description: one") && !text.contains("hunter2"), "{text}");

    let again = source::read(&[directory.path().to_path_buf()]).resources();
    let resources = loaded.resources();
    assert_eq!(resources.apps, again.apps, "the same files give the same objects");
    assert_eq!(resources.apps[&key("a")].metadata.generation, Some(1));
}
