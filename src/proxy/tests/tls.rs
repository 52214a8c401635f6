//! TLS on the public listener.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::listening::{Listening, listening_with, raw};
use super::*;
use crate::proxy::tls::{ServerTls, TlsFiles, TlsFilesError};

/// A self-signed certificate for `gate.example.org`, written as a mounted Secret has it. Returns it.
fn write(directory: &Path) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["gate.example.org".into()]).unwrap().self_signed(&key).unwrap();
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join("tls.crt"), certificate.pem()).unwrap();
    fs::write(directory.join("tls.key"), key.serialize_pem()).unwrap();
    certificate.der().clone()
}

fn files(directory: &Path) -> TlsFiles {
    TlsFiles { certificate: directory.join("tls.crt"), key: directory.join("tls.key") }
}

/// A connection of a client that trusts this certificate.
async fn secured(
    listening: &Listening,
    trusted: &CertificateDer<'static>,
    protocols: &[&[u8]],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Result<TlsStream<TcpStream>, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(listening.address).await?;
    let name = ServerName::try_from("gate.example.org").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// What such a client gets: the protocol that was agreed on, and the answer's beginning.
async fn ask(
    listening: &Listening,
    trusted: &CertificateDer<'static>,
    protocols: &[&[u8]],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Result<(Option<Vec<u8>>, String), std::io::Error> {
    let mut stream = secured(listening, trusted, protocols, versions).await?;
    let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    if agreed.as_deref() == Some(b"h2") {
        return Ok((agreed, String::new()));
    }
    let request = "GET /default/epic/oauth2/jwks HTTP/1.1\r\nHost: gate.example.org\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok((agreed, String::from_utf8_lossy(&answer).into_owned()))
}

const ALL: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

#[tokio::test]
async fn both_protocols_are_agreed_on_and_both_versions_spoken() {
    let directory = tempfile::tempdir().unwrap();
    let trusted = write(directory.path());
    let setup = Setup::new().await;
    let tls = ServerTls::open(files(directory.path())).unwrap();
    let listening = listening_with(&setup, Duration::from_secs(5), Some(tls)).await;
    for version in ALL {
        let (agreed, answer) = ask(&listening, &trusted, &[b"http/1.1"], &[*version]).await.unwrap();
        assert_eq!(agreed.as_deref(), Some(&b"http/1.1"[..]));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let (agreed, _) = ask(&listening, &trusted, &[b"h2", b"http/1.1"], &[*version]).await.unwrap();
        assert_eq!(agreed.as_deref(), Some(&b"h2"[..]));
        let (agreed, answer) = ask(&listening, &trusted, &[], &[*version]).await.unwrap();
        assert_eq!(agreed, None);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
async fn http_2_is_spoken_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let trusted = write(directory.path());
    let setup = Setup::new().await;
    let tls = ServerTls::open(files(directory.path())).unwrap();
    let listening = listening_with(&setup, Duration::from_secs(5), Some(tls)).await;
    let stream = secured(&listening, &trusted, &[b"h2"], ALL).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let token = setup.token_at("epic").await;
    let request = Request::get("https://gate.example.org/default/epic/fhir/Patient/1")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::<Bytes>::default())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, ::http::Version::HTTP_2));
}

#[tokio::test]
async fn a_swapped_secret_is_shown_and_a_broken_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let mount = directory.path();
    // As the kubelet mounts a Secret: the files are links through `..data`, which is swapped by a rename.
    let first = write(&mount.join("..1"));
    symlink("..1", mount.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), mount.join(name)).unwrap();
    }
    let setup = Setup::new().await;
    let tls = ServerTls::open(files(mount)).unwrap();
    let listening = listening_with(&setup, Duration::from_secs(5), Some(tls.clone())).await;
    assert!(ask(&listening, &first, &[], ALL).await.is_ok());
    assert!(!tls.reload().unwrap(), "nothing has changed");

    let second = write(&mount.join("..2"));
    symlink("..2", mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    assert!(tls.reload().unwrap());
    assert!(ask(&listening, &second, &[], ALL).await.is_ok());
    assert!(ask(&listening, &first, &[], ALL).await.is_err());

    fs::copy(mount.join("..1/tls.key"), mount.join("..2/tls.key")).unwrap();
    assert!(matches!(tls.reload(), Err(TlsFilesError::Unusable(_))));
    assert!(ask(&listening, &second, &[], ALL).await.is_ok(), "the last good pair is shown on");
}

#[tokio::test]
async fn a_client_that_never_shakes_hands_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path());
    let setup = Setup::new().await;
    let tls = ServerTls::open(files(directory.path())).unwrap();
    let listening = listening_with(&setup, Duration::from_millis(300), Some(tls)).await;
    for beginning in ["", "\u{16}\u{3}\u{1}"] {
        assert_eq!(raw(listening.address, beginning).await, "");
    }
}

#[test]
fn files_that_hold_nothing_are_told() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(ServerTls::open(files(directory.path())), Err(TlsFilesError::Unreadable { .. })));
    write(directory.path());
    fs::write(directory.path().join("tls.key"), "nothing").unwrap();
    assert!(matches!(ServerTls::open(files(directory.path())), Err(TlsFilesError::NoKey(_))));
    fs::write(directory.path().join("tls.crt"), "nothing").unwrap();
    assert!(matches!(ServerTls::open(files(directory.path())), Err(TlsFilesError::NoCertificate(_))));
}
