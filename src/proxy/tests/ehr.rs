//! An EHR that answers as it is told and remembers what reached it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// What reached the EHR.
#[derive(Clone, Debug)]
pub(super) struct Reached {
    pub(super) method: String,
    /// Path and query, as they came.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reached {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let values: Vec<_> = self.headers.get_all(name).iter().collect();
        assert!(values.len() <= 1, "{name} stands there several times");
        values.first().map(|value| value.to_str().unwrap())
    }
}

type Handler = dyn Fn(&Reached) -> Response<Full<Bytes>> + Send + Sync;

pub(super) struct Ehr {
    /// Without a slash at the end.
    pub(super) url: String,
    reached: Arc<Mutex<Vec<Reached>>>,
}

impl Ehr {
    /// An EHR with one patient behind every URL.
    pub(super) async fn start() -> Self {
        Self::answering(|_| json(200, r#"{"resourceType":"Patient","id":"1"}"#)).await
    }

    pub(super) async fn answering(handler: impl Fn(&Reached) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let reached: Arc<Mutex<Vec<Reached>>> = Arc::default();
        let handler: Arc<Handler> = Arc::new(handler);
        let log = Arc::clone(&reached);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, log) = (Arc::clone(&handler), Arc::clone(&log));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (handler, log) = (Arc::clone(&handler), Arc::clone(&log));
                    async move {
                        let (head, body) = request.into_parts();
                        let Ok(body) = body.collect().await else { return Ok::<_, Infallible>(json(400, "{}")) };
                        let reached = Reached {
                            method: head.method.to_string(),
                            target: head.uri.to_string(),
                            headers: head.headers,
                            body: body.to_bytes(),
                        };
                        log.lock().unwrap().push(reached.clone());
                        Ok(handler(&reached))
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { url, reached }
    }

    /// One that somebody else plays.
    pub(super) fn at(url: String) -> Self {
        Self { url, reached: Arc::default() }
    }

    /// Everything that reached it so far.
    pub(super) fn reached(&self) -> Vec<Reached> {
        self.reached.lock().unwrap().clone()
    }

    /// The one request that reached it.
    pub(super) fn only(&self) -> Reached {
        let reached = self.reached();
        assert_eq!(reached.len(), 1, "{reached:?}");
        reached[0].clone()
    }
}

pub(super) fn json(status: u16, body: &str) -> Response<Full<Bytes>> {
    answer(status, &[("content-type", "application/fhir+json")], body)
}

pub(super) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::from(body.to_owned())).unwrap()
}
