//! The floor of an endpoint: bare hyper that answers each request with nothing but the cryptography that it cannot do
//! without.

use std::convert::Infallible;
use std::process::Command;

use ::hearthgate::values::key::Algorithm;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
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

/// A running server.
pub struct Bare {
    pub process: Process,
    port: u16,
}

pub fn start(work: Work) -> Bare {
    let port = free_port();
    let own = std::env::current_exe().unwrap();
    let (_, name) = Work::ALL.into_iter().find(|(known, _)| *known == work).unwrap();
    let process = Process::start(Command::new(own).args([ARGUMENT, name, &port.to_string()]));
    wait_for(port);
    Bare { process, port }
}

impl Bare {
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

/// Serves as the last two arguments say: the work, and the port.
pub fn run() {
    let mut arguments = std::env::args().rev();
    let port: u16 = arguments.next().unwrap().parse().unwrap();
    let name = arguments.next().unwrap();
    let (work, _) = Work::ALL.into_iter().find(|(_, known)| *known == name).unwrap();
    let (signs, checks) = (work != Work::Verify, work != Work::Sign);
    let checked = if work == Work::Verify { Algorithm::Es256 } else { Algorithm::Rs384 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
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
