//! The key sets that clients publish at a URL: fetched, cached as Epic caches, fetched anew once when a key is missing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use http::header::{ACCEPT, CACHE_CONTROL};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::key_set::{KeySet, KeySetError};

/// Epic caches a key set for 29 hours unless `Cache-Control` says less.
const LONGEST_CACHE: Duration = Duration::from_hours(29);
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const LARGEST_KEY_SET_BYTES: usize = 256 * 1024;
const MOST_CACHED: usize = 10_000;

/// Where a key set came from: only one out of the cache is worth fetching again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Cache,
    Network,
}

/// Why a key set could not be had.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no HTTP client could be made to fetch the JWK Set: {0}")]
    Client(String),
    #[error("the JWK Set URL {url} cannot be reached: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("the JWK Set URL {url} answered {status}")]
    Status { url: String, status: StatusCode },
    #[error("the JWK Set at {url} is larger than 256 KiB")]
    TooLarge { url: String },
    #[error("what {url} answers is not JSON")]
    NotJson { url: String },
    #[error("what {url} answers is refused: {reason}")]
    NotAKeySet { url: String, reason: KeySetError },
}

/// The cache and the client that fills it.
#[derive(Debug, Default)]
pub(super) struct FetchedKeys {
    client: OnceLock<Result<reqwest::Client, String>>,
    cache: Mutex<HashMap<String, Cached>>,
}

#[derive(Debug, Clone)]
struct Cached {
    keys: Arc<KeySet>,
    until: Instant,
}

impl FetchedKeys {
    /// The key set of a URL, out of the cache where that may still be used.
    pub(super) async fn get(&self, url: &str) -> Result<(Arc<KeySet>, Origin), FetchError> {
        let cached = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned();
        match cached {
            Some(cached) if cached.until > Instant::now() => Ok((cached.keys, Origin::Cache)),
            _ => Ok((self.fetch(url).await?, Origin::Network)),
        }
    }

    /// Fetches the key set now, whatever the cache holds, and keeps it.
    pub(super) async fn fetch(&self, url: &str) -> Result<Arc<KeySet>, FetchError> {
        let client = self.client.get_or_init(client).as_ref().map_err(|reason| FetchError::Client(reason.clone()))?;
        let unreachable =
            |error: reqwest::Error| FetchError::Unreachable { url: url.to_owned(), reason: whole_reason(&error) };
        let mut response = client.get(url).header(ACCEPT, "application/json").send().await.map_err(unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status { url: url.to_owned(), status: response.status() });
        }
        let lifetime = lifetime(response.headers());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > LARGEST_KEY_SET_BYTES {
                return Err(FetchError::TooLarge { url: url.to_owned() });
            }
            body.extend_from_slice(&chunk);
        }
        let document: Value = serde_json::from_slice(&body).map_err(|_| FetchError::NotJson { url: url.to_owned() })?;
        let keys = Arc::new(
            KeySet::parse(&document).map_err(|reason| FetchError::NotAKeySet { url: url.to_owned(), reason })?,
        );
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MOST_CACHED {
            cache.clear();
        }
        cache.insert(url.to_owned(), Cached { keys: Arc::clone(&keys), until: Instant::now() + lifetime });
        Ok(keys)
    }
}

/// How long a set may be used: what `Cache-Control` says (RFC 9111 §5.2.2), at most what Epic would.
fn lifetime(headers: &HeaderMap) -> Duration {
    let directives: Vec<String> = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|directive| directive.trim().to_ascii_lowercase())
        .collect();
    if directives.iter().any(|directive| directive == "no-store" || directive == "no-cache") {
        return Duration::ZERO;
    }
    directives
        .iter()
        .find_map(|directive| directive.strip_prefix("max-age="))
        .and_then(|seconds| seconds.trim_matches('"').parse().ok())
        .map_or(LONGEST_CACHE, |seconds| Duration::from_secs(seconds).min(LONGEST_CACHE))
}

/// A client that follows no redirect and uses no proxy: an EHR asks exactly the URL that was registered.
///
/// The TLS configuration is handed over ready made, because the one that reqwest would build panics where the process
/// has installed no crypto provider.
fn client() -> Result<reqwest::Client, String> {
    let provider = rustls::crypto::CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(FETCH_TIMEOUT)
        .user_agent("hearthgate-sandbox")
        .build()
        .map_err(|error| whole_reason(&error))
}

/// An error with its causes: reqwest's own sentence alone never says "connection refused".
fn whole_reason(error: &dyn std::error::Error) -> String {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        reason.push_str(": ");
        reason.push_str(&cause.to_string());
        source = cause.source();
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache_control(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CACHE_CONTROL, http::HeaderValue::from_static(value))])
    }

    #[test]
    fn a_key_set_is_kept_as_long_as_cache_control_says_and_29_hours_at_most() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert_eq!(lifetime(&HeaderMap::new()), hours(29));
        assert_eq!(lifetime(&cache_control("public, max-age=60")), Duration::from_mins(1));
        assert_eq!(lifetime(&cache_control("max-age=9999999")), hours(29));
        assert_eq!(lifetime(&cache_control("max-age=600, no-store")), Duration::ZERO);
        assert_eq!(lifetime(&cache_control("max-age=later")), hours(29));
    }
}
