//! Clients that cost more than they may: HTTP/2 floods, and those that hold a connection open with nothing.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::listening::{listening, listening_as, raw};
use super::*;
use crate::proxy::server::ServerSettings;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

/// RFC 9113 §4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// `GET` or `POST` of a path at `gate.example.org`, in HPACK without any index of its own (RFC 7541 §6.2.2).
fn headers(method: u8, path: &str) -> Vec<u8> {
    let mut block = vec![method, 0x86, 0x01, 16];
    block.extend_from_slice(b"gate.example.org");
    block.extend_from_slice(&[0x04, u8::try_from(path.len()).unwrap()]);
    block.extend_from_slice(path.as_bytes());
    block
}

/// The kinds of the frames that come until the proxy closes the connection.
async fn answered(address: std::net::SocketAddr, sent: Vec<u8>) -> Vec<u8> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let writing = tokio::spawn(async move {
        let _ = writer.write_all(&sent).await;
        writer
    });
    let mut received = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), reader.read_to_end(&mut received)).await.expect("an end");
    let _writer = writing.await.unwrap();
    let mut kinds = Vec::new();
    let mut rest = received.as_slice();
    while rest.len() >= 9 {
        let length = usize::from(rest[0]) << 16 | usize::from(rest[1]) << 8 | usize::from(rest[2]);
        kinds.push(rest[3]);
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_as_fast_as_they_open_end_the_connection() {
    let setup = Setup::new().await;
    let listening = listening(&setup, Duration::from_secs(5)).await;
    let token = setup.token_at("epic").await;
    let mut sent = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for number in 0..10_000_u32 {
        let stream = number * 2 + 1;
        let block = headers(0x82, "/default/epic/fhir/Patient/1");
        sent.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
        sent.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
    }
    let kinds = answered(listening.address, sent).await;
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
    let answer = setup.get("/epic/fhir/Patient/1", &token).await;
    assert_eq!(answer.status, 200, "others are served on");
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_data_frames_without_end_end_the_connection() {
    let setup = Setup::new().await;
    let listening = listening(&setup, Duration::from_secs(5)).await;
    let mut sent = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    sent.extend(frame(HEADERS, END_HEADERS, 1, &headers(0x83, "/default/epic/oauth2/token")));
    for _ in 0..200_000 {
        sent.extend(frame(DATA, 0, 1, &[]));
    }
    let kinds = answered(listening.address, sent).await;
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
}

#[tokio::test]
async fn a_client_that_holds_a_body_back_is_cut() {
    let setup = Setup::patient_for(Duration::from_millis(300)).await;
    let listening = listening(&setup, Duration::from_secs(30)).await;
    let token = setup.token_at("epic").await;
    for (path, length) in [("oauth2/token", "100"), ("fhir/Appointment", "100"), ("fhir/Appointment", "1000000")] {
        let media_type =
            if path == "oauth2/token" { "application/x-www-form-urlencoded" } else { "application/fhir+json" };
        let began = Instant::now();
        let answer = raw(
            listening.address,
            format!(
                "POST /default/epic/{path} HTTP/1.1\r\nHost: gate.example.org\r\nAuthorization: Bearer {token}\r\n\
                 Content-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n{{"
            ),
        )
        .await;
        let status = if path == "oauth2/token" { "HTTP/1.1 400" } else { "HTTP/1.1 408" };
        assert!(answer.starts_with(status), "{path}: {answer}");
        assert!(began.elapsed() < Duration::from_secs(4), "{path}");
    }
}

/// An EHR whose answer has no end, and word of when nobody takes it any more.
async fn endless() -> (Ehr, oneshot::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ehr = Ehr::at(format!("http://{}", listener.local_addr().unwrap()));
    let (left, leaves) = oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: application/fhir+json\r\ntransfer-encoding: chunked\r\n\r\n1\r\n[\r\n";
        let mut taken = stream.write_all(head.as_bytes()).await;
        let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
        while taken.is_ok() {
            taken = stream.write_all(chunk.as_bytes()).await;
        }
        let _ = left.send(());
    });
    (ehr, leaves)
}

#[rstest::rstest]
#[case::one_connection(false)]
#[case::one_stream_of_many(true)]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_of_its_answer_holds_no_ehr(#[case] http2: bool) {
    let (ehr, leaves) = endless().await;
    let setup = Setup::in_front_of(ehr, |world| world).await;
    let settings = ServerSettings { answer_idle: Duration::from_millis(400), ..ServerSettings::default() };
    let listening = listening_as(&setup, settings, None).await;
    let token = setup.token_at("epic").await;
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(http2)
        .build_http::<Full<Bytes>>();
    let request = Request::get(format!("http://{}/default/epic/fhir/Patient", listening.address))
        .header("authorization", format!("Bearer {token}"))
        .body(Full::default())
        .unwrap();
    let answer = client.request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    tokio::time::timeout(Duration::from_secs(10), leaves).await.expect("the EHR is let go").unwrap();
    let taken = answer.into_body().collect().await;
    assert!(taken.is_err(), "what was cut has no good end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_never_read_is_cut() {
    let (ehr, leaves) = endless().await;
    let setup = Setup::in_front_of(ehr, |world| world).await;
    let settings = ServerSettings { answer_idle: Duration::from_millis(400), ..ServerSettings::default() };
    let listening = listening_as(&setup, settings, None).await;
    let token = setup.token_at("epic").await;
    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    let request = format!(
        "GET /default/epic/fhir/Patient HTTP/1.1\r\nHost: gate.example.org\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), leaves).await.expect("the EHR is let go").unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.expect("an end");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK") && !answer.ends_with(b"\r\n0\r\n\r\n"));
}
