use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::response::IntoResponse as _;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::StatusCode;
use http::header::LOCATION;
use http_body_util::{Empty, Full, StreamBody};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::outbound::testing::{Ehr, World};
use crate::values::secret::SecretBytes;

/// Every name is loopback.
#[derive(Debug)]
struct AllIsHere;

impl Resolve for AllIsHere {
    fn resolve<'call>(&'call self, _: &'call str) -> BoxFuture<'call, std::io::Result<Vec<IpAddr>>> {
        async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) }.boxed()
    }
}

fn client() -> EhrClient {
    EhrClient::with_resolver(World::new().platform.addresses, Arc::new(AllIsHere))
}

/// Adapter `ehr` at this base; its TLS settings and patience are changed by `edit`.
fn adapter(base: &str, edit: impl FnOnce(&mut DataAdapter)) -> DataAdapter {
    let published = World::with_ehr(base, "FhirR4").published();
    let mut snapshot = Arc::into_inner(published.snapshot).unwrap();
    // The gateway holds the adapter too.
    snapshot.gateways.clear();
    snapshot.routes = crate::snapshot::Routes::default();
    let adapter = snapshot.data_adapters.pop_first().unwrap().1;
    let mut adapter = Arc::into_inner(adapter).unwrap();
    edit(&mut adapter);
    adapter
}

fn get(url: &str) -> Request<Empty<Bytes>> {
    Request::get(url).body(Empty::new()).unwrap()
}

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap() }
    }

    fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Certificate and key for this name.
    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate, key)
    }
}

/// An https server for this name that says which HTTP version and SNI it was asked with; it may ask for client
/// certificates.
async fn https(authority: &Authority, name: &str, clients: Option<&Authority>) -> u16 {
    let (certificate, key) = authority.issue(name);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let sni = stream.get_ref().1.server_name().unwrap_or("none").to_owned();
                let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
                    let said = format!("{:?} {sni}", request.version());
                    async move { said }
                });
                let service = TowerToHyperService::new(router);
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    port
}

async fn said(client: &EhrClient, adapter: &DataAdapter, url: &str) -> Result<String, CallError> {
    let response = client.send(adapter, get(url)).await?;
    let body = read_short(response.into_body(), 1024, Duration::from_secs(5)).await.unwrap();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn the_adapters_authorities_are_trusted_and_no_others() {
    let authority = Authority::new();
    let port = https(&authority, "ehr.example.org", None).await;
    let url = format!("https://ehr.example.org:{port}/");
    let client = client();
    let trusting = adapter(&url, |adapter| adapter.tls.ca_bundle_pem = Some(authority.pem()));
    assert_eq!(said(&client, &trusting, &url).await.unwrap(), "HTTP/2.0 ehr.example.org");

    let stranger = adapter(&url, |adapter| adapter.tls.ca_bundle_pem = Some(Authority::new().pem()));
    let refused = said(&client, &stranger, &url).await.unwrap_err();
    assert!(matches!(&refused, CallError::Tls(_)), "the pool of one trust is not used by another: {refused:?}");
    assert!(refused.nothing_was_sent());

    let other_name = format!("https://other.example.org:{port}/");
    let refused = said(&client, &trusting, &other_name).await.unwrap_err();
    assert!(matches!(&refused, CallError::Tls(_)), "{refused:?}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_configured() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let port = https(&authority, "ehr.example.org", Some(&clients)).await;
    let url = format!("https://ehr.example.org:{port}/");
    let (certificate, key) = clients.issue("gate.example.org");
    let identified = adapter(&url, |adapter| {
        adapter.tls.ca_bundle_pem = Some(authority.pem());
        adapter.tls.client_certificate_pem = Some(certificate.pem());
        adapter.tls.client_key_pem = Some(SecretBytes::from(key.serialize_pem()));
    });
    assert_eq!(said(&client(), &identified, &url).await.unwrap(), "HTTP/2.0 ehr.example.org");
    let anonymous = adapter(&url, |adapter| adapter.tls.ca_bundle_pem = Some(authority.pem()));
    said(&client(), &anonymous, &url).await.unwrap_err();
    let halved = adapter(&url, |adapter| adapter.tls.client_certificate_pem = Some(certificate.pem()));
    let refused = said(&client(), &halved, &url).await.unwrap_err();
    assert_eq!(refused, CallError::TlsSettings(TlsSettingsError::ClientCertificate));
}

#[tokio::test]
async fn a_renewed_identity_and_a_renewed_authority_are_used_from_the_next_call_on() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let port = https(&authority, "ehr.example.org", Some(&clients)).await;
    let url = format!("https://ehr.example.org:{port}/");
    let client = client();
    let (trusted, stranger) = (clients.issue("gate.example.org"), Authority::new().issue("gate.example.org"));
    let showing = |(certificate, key): &(rcgen::Certificate, KeyPair), bundle: &str| {
        adapter(&url, |adapter| {
            adapter.tls.ca_bundle_pem = Some(bundle.to_owned());
            adapter.tls.client_certificate_pem = Some(certificate.pem());
            adapter.tls.client_key_pem = Some(SecretBytes::from(key.serialize_pem()));
        })
    };
    said(&client, &showing(&stranger, &authority.pem()), &url).await.unwrap_err();
    said(&client, &showing(&trusted, &authority.pem()), &url).await.unwrap();
    said(&client, &showing(&trusted, &Authority::new().pem()), &url).await.unwrap_err();
    let both = format!("{}{}", Authority::new().pem(), authority.pem());
    said(&client, &showing(&clients.issue("gate.example.org"), &both), &url).await.unwrap();
}

#[tokio::test]
async fn a_redirect_is_handed_back_and_path_and_query_stay_as_they_are() {
    let ehr = Ehr::start(|_| (StatusCode::FOUND, [(LOCATION, "/elsewhere")]).into_response()).await;
    let adapter = adapter(&ehr.url("/"), |_| {});
    let response = client().send(&adapter, get(&ehr.url("/a/%2e/b//c;d?e=%20+&f="))).await.unwrap();
    assert_eq!(response.status(), StatusCode::FOUND);
    let arrived: Vec<_> = ehr.arrived().into_iter().map(|arrived| arrived.path).collect();
    assert_eq!(arrived, ["/a/%2e/b//c;d?e=%20+&f="]);
}

#[tokio::test]
async fn an_ehr_that_says_nothing_costs_no_more_than_the_adapters_patience() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let patience = Duration::from_millis(50);
    let adapter = adapter(&url, |adapter| adapter.timeouts.request = patience);
    let refused = client().send(&adapter, get(&url)).await.unwrap_err();
    assert_eq!(refused, CallError::Timeout { waited: patience });
    drop(listener);
    let refused = client().send(&adapter, get(&url)).await.unwrap_err();
    assert!(matches!(&refused, CallError::Connect(DialError::NotConnected { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_body_that_fails_under_way_is_the_senders_fault() {
    let ehr = Ehr::giving_tokens().await;
    let adapter = adapter(&ehr.url("/"), |_| {});
    let broken = futures::stream::iter([
        Ok(http_body::Frame::data(Bytes::from_static(b"half"))),
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
    ]);
    let request = Request::post(ehr.url("/")).body(StreamBody::new(broken)).unwrap();
    assert_eq!(client().send(&adapter, request).await.unwrap_err(), CallError::RequestBody);
}

#[tokio::test]
async fn connections_are_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            let router = axum::Router::new().fallback(|| async { "ok" });
            tokio::spawn(async move {
                let service = TowerToHyperService::new(router);
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    let (client, adapter) = (client(), adapter(&url, |_| {}));
    for _ in 0..5 {
        let request = Request::post(&url).body(Full::new(Bytes::from_static(b"x"))).unwrap();
        let response = client.send(&adapter, request).await.unwrap();
        read_short(response.into_body(), 1024, Duration::from_secs(5)).await.unwrap();
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[test]
fn what_came_in_gzip_is_unpacked_within_its_limit() {
    use std::io::Write as _;
    let packed = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).unwrap();
        Bytes::from(encoder.finish().unwrap())
    };
    assert_eq!(unpacked("{}".into(), 10), Ok("{}".into()));
    assert_eq!(unpacked(packed(b"{\"access_token\":\"a\"}"), 100), Ok("{\"access_token\":\"a\"}".into()));
    assert_eq!(unpacked(packed(&[b' '; 1000]), 999), Err(ReadError::TooLong { limit: 999 }));
    assert_eq!(unpacked(packed(&vec![b' '; 10_000_000]), 100_000), Err(ReadError::TooLong { limit: 100_000 }));
    let whole = packed(b"{}");
    assert_eq!(unpacked(whole.slice(..whole.len() - 1), 100), Err(ReadError::Broken));
}
