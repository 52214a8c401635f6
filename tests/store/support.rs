//! Stores to test, a real Valkey among them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hearthgate::keys::make::make_gateway_keys;
use hearthgate::store::{EmbeddedStore, Records, Sealer, Store};
use hearthgate::values::key::{GatewayKeys, SealingKey, file};
use hearthgate::values::secret::SecretBytes;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

pub use crate::valkey_server::Valkey;

/// The gateway that most tests speak of.
pub const GATEWAY: &str = "clinic/epic";

/// A new sealing key, read from a gateway's Secret as they all are. The Secret's other keys, which take long to make,
/// are the same in all of them.
pub fn sealing_key() -> SealingKey {
    static DATA: LazyLock<BTreeMap<String, SecretBytes>> = LazyLock::new(|| make_gateway_keys().unwrap().into_data());
    let mut data = DATA.clone();
    let mut key = [0; SealingKey::LENGTH];
    aws_lc_rs::rand::fill(&mut key).unwrap();
    data.insert(file::SEALING_KEY.to_owned(), STANDARD.encode(key).into());
    GatewayKeys::from_data(&data).unwrap().sealing
}

/// The records of [`GATEWAY`] in a store, with a key that they share.
pub fn records(stores: &[Arc<dyn Store>]) -> Vec<Records> {
    let sealer = Arc::new(Sealer::new(GATEWAY, &sealing_key(), []));
    stores.iter().map(|store| Records::new(Arc::clone(store), Arc::clone(&sealer))).collect()
}

pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A time so many milliseconds from now.
pub fn within(milliseconds: i64) -> Timestamp {
    now() + SignedDuration::from_millis(milliseconds)
}

/// A time that no test lives to see.
pub fn later() -> Timestamp {
    within(3_600_000)
}

/// Waits until something holds, for at most so long, and says how long it took.
pub async fn eventually(what: &str, at_most: Duration, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < at_most, "{what}: not within {at_most:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    begun.elapsed()
}

/// Which implementation a test runs on.
#[derive(Clone, Copy, Debug)]
pub enum Backend {
    Embedded,
    Valkey,
}

/// Two ways into one store, as two replicas have them: two connections, or twice the one embedded store.
pub struct Place {
    pub stores: [Arc<dyn Store>; 2],
    pub records: Vec<Records>,
    _server: Option<Valkey>,
    pub directory: TempDir,
}

impl Place {
    pub async fn open(backend: Backend) -> Self {
        let directory = TempDir::new().unwrap();
        let (stores, server): ([Arc<dyn Store>; 2], _) = match backend {
            Backend::Embedded => {
                let store: Arc<dyn Store> = Arc::new(embedded(&directory.path().join("store.redb")).await);
                ([Arc::clone(&store), store], None)
            }
            Backend::Valkey => {
                let server = Valkey::start(directory.path(), &[]);
                let first: Arc<dyn Store> = Arc::new(server.store());
                let second: Arc<dyn Store> = Arc::new(server.store());
                ([first, second], Some(server))
            }
        };
        for store in &stores {
            eventually("the revocations are there", Duration::from_secs(5), async || store.health().revocations_synced)
                .await;
        }
        Self { records: records(&stores), stores, _server: server, directory }
    }
}

/// An embedded store that opens without complaint.
pub async fn embedded(path: &Path) -> EmbeddedStore {
    let store = EmbeddedStore::open(path).await.unwrap();
    assert_eq!(store.set_aside(), None);
    store
}
