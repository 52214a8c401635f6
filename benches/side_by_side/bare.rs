//! The floor of a token endpoint: bare hyper that answers each request with one ES256 signature.

use std::convert::Infallible;
use std::process::Command;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::process::{Process, free_port, wait_for};

/// This very program, called with it, is the server.
pub const ARGUMENT: &str = "--bare-hyper";

/// A running server.
pub struct Bare {
    pub process: Process,
    port: u16,
}

pub fn start() -> Bare {
    let port = free_port();
    let own = std::env::current_exe().unwrap();
    let process = Process::start(Command::new(own).args([ARGUMENT, &port.to_string()]));
    wait_for(port);
    Bare { process, port }
}

impl Bare {
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

/// Serves on the port that the last argument names.
pub fn run() {
    let port: u16 = std::env::args().next_back().unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let key: &'static EcdsaKeyPair =
            Box::leak(Box::new(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(move |_| async move {
                let signature = key.sign(&SystemRandom::new(), &[7; 400]).unwrap();
                Ok::<_, Infallible>(Response::new(URL_SAFE_NO_PAD.encode(signature)))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
}
