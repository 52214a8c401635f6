//! TLS on the public listener: a certificate and its key from two files, read again when they change.
//!
//! The files are compared by content every few seconds rather than watched: a Secret mounted into a pod changes by a
//! swapped `..data` link, other tools write in place or rename, and all of it is the same to a reader. A pair that does
//! not fit (half of it written so far) changes nothing: the last good one goes on being shown.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Where the certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Why no TLS can be spoken with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsFilesError {
    /// A file cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is no certificate in it.
    #[error("{0} holds no PEM certificate")]
    NoCertificate(PathBuf),
    /// There is no key in it.
    #[error("{0} holds no PEM private key")]
    NoKey(PathBuf),
    /// The two do not fit, or rustls cannot use them.
    #[error("certificate and key cannot be used together: {0}")]
    Unusable(rustls::Error),
}

/// What the listener shows. A clone shares it.
#[derive(Clone)]
pub struct ServerTls {
    current: Arc<ArcSwap<Current>>,
    files: Arc<TlsFiles>,
}

struct Current {
    config: Arc<ServerConfig>,
    contents: Contents,
    /// Seconds since 1970.
    not_after: i64,
}

#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ServerTls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Reads the files; they must be good now.
    pub fn open(files: TlsFiles) -> Result<Self, TlsFilesError> {
        let current = Current::of(&files, Contents::read(&files)?)?;
        Ok(Self { current: Arc::new(ArcSwap::from_pointee(current)), files: Arc::new(files) })
    }

    /// When the certificate that is shown ends, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.current.load().not_after
    }

    /// Looks at the files again. Whether something new is shown from now on.
    pub fn reload(&self) -> Result<bool, TlsFilesError> {
        let contents = Contents::read(&self.files)?;
        if self.current.load().contents == contents {
            return Ok(false);
        }
        self.current.store(Arc::new(Current::of(&self.files, contents)?));
        Ok(true)
    }

    /// Follows the files until `stop`.
    pub async fn follow(self, stop: CancellationToken) {
        let mut told: Option<String> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let tls = self.clone();
            let Ok(reloaded) = tokio::task::spawn_blocking(move || tls.reload()).await else { continue };
            match reloaded {
                Ok(true) => {
                    tracing::info!(certificate = %self.files.certificate.display(), "another certificate is shown from now on");
                    told = None;
                }
                Ok(false) => told = None,
                Err(error) => {
                    let error = error.to_string();
                    if told.as_ref() != Some(&error) {
                        tracing::error!(%error, "the TLS files cannot be used: the certificate from before is shown on");
                        told = Some(error);
                    }
                }
            }
        }
    }

    /// Makes a connection secure.
    pub(super) async fn accept<Io>(&self, stream: Io) -> io::Result<TlsStream<Io>>
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&self.current.load().config);
        TlsAcceptor::from(config).accept(stream).await
    }
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsFilesError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| TlsFilesError::Unreadable { path: path.to_path_buf(), error })
        };
        Ok(Self { certificate: read(&files.certificate)?, key: Zeroizing::new(read(&files.key)?) })
    }
}

impl Current {
    fn of(files: &TlsFiles, contents: Contents) -> Result<Self, TlsFilesError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&contents.certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| TlsFilesError::NoCertificate(files.certificate.clone()))?;
        let first = chain.first().ok_or_else(|| TlsFilesError::NoCertificate(files.certificate.clone()))?;
        let not_after = X509Certificate::from_der(first)
            .map(|(_, certificate)| certificate.validity().not_after.timestamp())
            .map_err(|_| TlsFilesError::NoCertificate(files.certificate.clone()))?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|_| TlsFilesError::NoKey(files.key.clone()))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsFilesError::Unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(TlsFilesError::Unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), contents, not_after })
    }
}
