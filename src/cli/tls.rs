//! TLS on the public listener: options, and reading the files.

use std::path::PathBuf;

use clap::Args;

use crate::proxy::tls::{ServerTls, TlsFiles, TlsFilesError};

/// Options about TLS on the public listener.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsOptions {
    /// Speak TLS on --listen with this certificate chain (PEM); read again when it changes
    #[arg(long, value_name = "FILE", env = "HEARTHGATE_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", env = "HEARTHGATE_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl TlsOptions {
    /// Reads the files, if there are any; they must be good at the start.
    pub(super) fn open(&self) -> Result<Option<ServerTls>, TlsFilesError> {
        let files = self.tls_cert.clone().zip(self.tls_key.clone());
        files.map(|(certificate, key)| ServerTls::open(TlsFiles { certificate, key })).transpose()
    }
}
