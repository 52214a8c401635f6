//! Stands between a process and its API server, and does what busy API servers and networks do.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// What is done to those who ask. Their Leases are left in peace.
#[derive(Clone, Copy, Debug)]
pub enum Mischief {
    /// Three of ten requests are answered 409, 429 or 500, and each watch ends after two seconds with `410 Gone`.
    Failures,
    /// Every so many writes, one reaches the API server and its answer never comes back: the moment to kill who asked.
    LostAnswers {
        /// One of how many.
        every: u64,
    },
}

/// The API server as a process sees it.
pub struct Front {
    url: String,
    client: reqwest::Client,
    mischief: Mischief,
    pub asked: AtomicU64,
    pub faults: AtomicU64,
    pub forgotten: AtomicU64,
    writes: AtomicU64,
    lost: Notify,
}

impl Front {
    /// Begins to stand before the API server of a kubeconfig, and writes one that leads here.
    pub async fn start(kubeconfig: &Path, mischief: Mischief) -> Arc<Self> {
        let mut config: Value = serde_json::from_slice(&std::fs::read(kubeconfig).unwrap()).unwrap();
        let cluster = &mut config["clusters"][0]["cluster"];
        let pem = STANDARD.decode(cluster["certificate-authority-data"].as_str().unwrap()).unwrap();
        let roots = reqwest::Certificate::from_pem_bundle(&pem).unwrap();
        let front = Arc::new(Self {
            url: cluster["server"].as_str().unwrap().to_owned(),
            client: reqwest::Client::builder().no_proxy().tls_certs_only(roots).build().unwrap(),
            mischief,
            asked: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            lost: Notify::new(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        *cluster = json!({ "server": url });
        std::fs::write(kubeconfig, config.to_string()).unwrap();
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&front));
        tokio::spawn(async move { axum::serve(listener, router).await });
        front
    }

    /// Returns when an answer was lost, once for each.
    pub async fn answer_lost(&self) {
        self.lost.notified().await;
    }

    /// What the API server says, as it comes.
    async fn forward(&self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let url = format!("{}{}", self.url, head.uri.path_and_query().unwrap());
        let mut headers = head.headers;
        headers.remove("host");
        let answer = self.client.request(head.method, url).headers(headers).body(body).send().await.unwrap();
        let mut response = Response::builder().status(answer.status());
        if let Some(media_type) = answer.headers().get("content-type") {
            response = response.header("content-type", media_type);
        }
        response.body(Body::from_stream(answer.bytes_stream())).unwrap()
    }

    async fn fail_sometimes(self: Arc<Self>, request: Request) -> Response {
        let is_watch = request.uri().query().unwrap_or_default().contains("watch=true");
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        // Spread out, and the same in each run.
        let fault = number.wrapping_mul(7) % 10;
        if fault < 3 {
            self.faults.fetch_add(1, Ordering::Relaxed);
            let (code, reason) = match fault {
                0 => (429, "TooManyRequests"),
                1 if request.method() != "GET" => (409, "Conflict"),
                _ => (500, "InternalError"),
            };
            return status(code, reason);
        }
        let response = self.forward(request).await;
        if !is_watch {
            return response;
        }
        let (head, body) = response.into_parts();
        let until = tokio::time::sleep(Duration::from_secs(2));
        let gone = json!({ "type": "ERROR", "object": status_object(410, "Expired") }).to_string() + "\n";
        let last = stream::once(async move {
            self.forgotten.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from(gone))
        });
        Response::from_parts(head, Body::from_stream(body.into_data_stream().take_until(until).chain(last)))
    }

    async fn lose_answers(&self, every: u64, request: Request) -> Response {
        let is_write = request.method() != "GET";
        let response = self.forward(request).await;
        if is_write && (self.writes.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(every) {
            self.lost.notify_one();
            std::future::pending::<()>().await;
        }
        response
    }
}

async fn answer(State(front): State<Arc<Front>>, request: Request) -> Response {
    if request.uri().path().contains("/leases") {
        return front.forward(request).await;
    }
    match front.mischief {
        Mischief::Failures => front.fail_sometimes(request).await,
        Mischief::LostAnswers { every } => front.lose_answers(every, request).await,
    }
}

fn status_object(code: u16, reason: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "made up by the test", "reason": reason, "code": code,
    })
}

fn status(code: u16, reason: &str) -> Response {
    let body = status_object(code, reason).to_string();
    let response = Response::builder().status(code).header("content-type", "application/json");
    response.header("retry-after", "1").body(body.into()).unwrap()
}
