//! The floor of an endpoint: bare hyper that answers each request with nothing but the cryptography that it cannot do
//! without; and of a read, bare hyper with its client's pool, which asks the EHR and judges nothing.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Command;

use ::hearthgate::values::key::Algorithm;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use super::keys::Key;
use super::process::{Process, free_port, wait_for};

/// This very program, called with it, is the server.
pub const ARGUMENT: &str = "--bare-hyper";

/// What it does for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// One ES256 signature: a token for a client that shows a secret.
    Sign,
    /// One ES256 signature checked: a token that was not seen before.
    Verify,
    /// One RS384 signature checked, one ES256 signature made: a token for a client that shows an assertion.
    VerifyAndSign,
}

impl Work {
    const ALL: [(Self, &str); 3] =
        [(Self::Sign, "sign"), (Self::Verify, "verify"), (Self::VerifyAndSign, "verify-and-sign")];
}

/// What the server is told in place of a work, where it is to ask the EHR; its address stands behind.
const FORWARD: &str = "forward=";

/// A running server.
pub struct Bare {
    pub process: Process,
    port: u16,
}

pub fn start(work: Work) -> Bare {
    let (_, name) = Work::ALL.into_iter().find(|(known, _)| *known == work).unwrap();
    start_as(name)
}

/// Starts one that asks the EHR for whatever it is asked for.
pub fn start_forwarding(ehr: SocketAddr) -> Bare {
    start_as(&format!("{FORWARD}{ehr}"))
}

fn start_as(work: &str) -> Bare {
    let port = free_port();
    let own = std::env::current_exe().unwrap();
    let process = Process::start(Command::new(own).args([ARGUMENT, work, &port.to_string()]));
    wait_for(port);
    Bare { process, port }
}

impl Bare {
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    pub fn fhir(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/fhir{path}", self.port)
    }
}

/// Serves as the last two arguments say: the work, and the port.
pub fn run() {
    let mut arguments = std::env::args().rev();
    let port: u16 = arguments.next().unwrap().parse().unwrap();
    let name = arguments.next().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if let Some(ehr) = name.strip_prefix(FORWARD) {
        return runtime.block_on(forward(port, ehr.parse().unwrap()));
    }
    let (work, _) = Work::ALL.into_iter().find(|(_, known)| *known == name).unwrap();
    let (signs, checks) = (work != Work::Verify, work != Work::Sign);
    let checked = if work == Work::Verify { Algorithm::Es256 } else { Algorithm::Rs384 };
    runtime.block_on(async move {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let signer: &'static Key = Box::leak(Box::new(Key::make(Algorithm::Es256)));
        let other: &'static Key = Box::leak(Box::new(Key::make(checked)));
        let (message, verifying) = ([7; 400], other.verifying());
        let shown: &'static [u8] = other.signing().sign_bytes(&message).unwrap().leak();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let verifying = verifying.clone();
            let service = service_fn(move |_| {
                if checks {
                    verifying.verify(&message, shown).unwrap();
                }
                let answer = if signs { signer.signing().sign_bytes(&message).unwrap() } else { Vec::new() };
                async move { Ok::<_, Infallible>(Response::new(URL_SAFE_NO_PAD.encode(answer))) }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
}

async fn forward(port: u16, ehr: SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http::<Incoming>();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let client = client.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let target = format!("http://{ehr}{}", request.uri().path_and_query().unwrap());
            *request.uri_mut() = Uri::try_from(target).unwrap();
            client.request(request)
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
