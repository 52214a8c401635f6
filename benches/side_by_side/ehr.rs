//! The EHR behind all of them: plain hyper in this process, answers made beforehand.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

struct Answers {
    read: Bytes,
    small: Bytes,
    large: Bytes,
}

/// Starts it on a thread of its own.
pub fn start() -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(serve(tell));
    });
    told.recv().unwrap()
}

async fn serve(tell: std::sync::mpsc::Sender<SocketAddr>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let base = format!("http://{address}/fhir");
    let answers: &'static Answers = Box::leak(Box::new(Answers {
        read: patient().into(),
        small: bundle(&base, 50 * 1024).into(),
        large: bundle(&base, 50 * 1024 * 1024).into(),
    }));
    tell.send(address).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let service =
            service_fn(move |request: Request<Incoming>| async move { Ok::<_, Infallible>(answer(answers, &request)) });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn answer(answers: &'static Answers, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let body = match (request.uri().path(), request.uri().query()) {
        ("/fhir/Observation", Some("code=50")) => &answers.large,
        ("/fhir/Observation", _) => &answers.small,
        _ => &answers.read,
    };
    let mut response = Response::new(Full::new(body.clone()));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/fhir+json"));
    response
}

fn patient() -> String {
    let text = "x".repeat(2_700);
    format!(
        r#"{{"resourceType":"Patient","id":"1","name":[{{"family":"Chalmers","given":["Peter"]}}],"generalPractitioner":[{{"reference":"Practitioner/1"}}],"text":{{"status":"generated","div":"<div>{text}</div>"}}}}"#
    )
}

/// A searchset of about so many bytes, an absolute URL of the EHR every few hundred.
fn bundle(base: &str, size: usize) -> String {
    use std::fmt::Write as _;

    let mut text = String::with_capacity(size + 1024);
    let _ = write!(
        text,
        r#"{{"resourceType":"Bundle","type":"searchset","total":1,"link":[{{"relation":"self","url":"{base}/Observation?code=1"}}],"entry":["#
    );
    for number in 0.. {
        let _ = write!(
            text,
            r#"{{"fullUrl":"{base}/Observation/{number}","resource":{{"resourceType":"Observation","id":"{number}","status":"final","code":{{"coding":[{{"system":"http://loinc.org","code":"29463-7","display":"Body weight"}}]}},"subject":{{"reference":"{base}/Patient/1"}},"effectiveDateTime":"2026-01-01T00:00:00Z","valueQuantity":{{"value":71.5,"unit":"kg","system":"http://unitsofmeasure.org","code":"kg"}},"note":[{{"text":"Measured standing, shoes off, after a light breakfast; the patient reports no change since the last visit."}}]}},"search":{{"mode":"match"}}}}"#
        );
        if text.len() >= size {
            break;
        }
        text.push(',');
    }
    text.push_str("]}");
    text
}
