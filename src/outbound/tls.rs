//! TLS towards EHRs: rustls with aws-lc-rs, named explicitly so that nothing depends on a process-wide default.

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::snapshot::data_adapter::Tls;

/// What is wrong with an adapter's trust or identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsSettingsError {
    /// The bundle holds no certificate.
    #[error("tls.caBundleRef holds no PEM certificate that can be used as an authority")]
    CaBundle,
    /// The client certificate or its key does not parse, or one of the two is missing.
    #[error("tls.clientCertificateRef needs tls.crt with PEM certificates and tls.key with their PEM private key")]
    ClientCertificate,
    /// The two do not fit, or rustls cannot use them.
    #[error("the client certificate cannot be used: {0}")]
    Unusable(String),
}

/// The configuration for connections with this trust and identity. ALPN offers HTTP/2, then HTTP/1.1.
pub fn client_config(tls: &Tls) -> Result<Arc<ClientConfig>, TlsSettingsError> {
    let roots = match &tls.ca_bundle_pem {
        None => system_roots(),
        Some(pem) => Arc::new(bundle(pem)?),
    };
    let unusable = |error: rustls::Error| TlsSettingsError::Unusable(error.to_string());
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots);
    let mut config = match (&tls.client_certificate_pem, &tls.client_key_pem) {
        (None, None) => builder.with_no_client_auth(),
        (Some(chain), Some(key)) => {
            let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|_| TlsSettingsError::ClientCertificate)?;
            let key = PrivateKeyDer::from_pem_slice(key.expose()).map_err(|_| TlsSettingsError::ClientCertificate)?;
            builder.with_client_auth_cert(chain, key).map_err(unusable)?
        }
        (Some(_), None) | (None, Some(_)) => return Err(TlsSettingsError::ClientCertificate),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}

fn bundle(pem: &str) -> Result<RootCertStore, TlsSettingsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| TlsSettingsError::CaBundle)?;
        roots.add(certificate).map_err(|_| TlsSettingsError::CaBundle)?;
    }
    if roots.is_empty() { Err(TlsSettingsError::CaBundle) } else { Ok(roots) }
}

/// The authorities that the system trusts, read once.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    Arc::clone(ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "some of the system's certificate authorities cannot be read");
        }
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            tracing::warn!("the system has no certificate authorities: https needs a tls.caBundleRef");
        }
        Arc::new(roots)
    }))
}
