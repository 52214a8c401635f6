//! A bound sandbox on a real connection.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::sandbox::{FIRST_PATIENT, OPEN_FHIR_PATH, Sandbox};

fn anywhere() -> Settings {
    Settings { listen: ([127, 0, 0, 1], 0).into(), ..Settings::default() }
}

/// Sends one GET and reads one answer with a `Content-Length`.
async fn get(connection: &mut TcpStream, path: &str) -> String {
    connection.write_all(format!("GET {path} HTTP/1.1\r\nHost: ehr\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    loop {
        let mut buffer = [0; 4096];
        let length = connection.read(&mut buffer).await.unwrap();
        answer.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        let whole = answer.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            length.is_some_and(|length| body.len() == length.parse::<usize>().unwrap())
        });
        if whole || length == 0 {
            return answer;
        }
    }
}

#[tokio::test]
async fn a_bound_sandbox_serves_many_requests_on_one_connection_until_it_is_told_to_stop() {
    let sandbox = Sandbox::bind(anywhere()).await.unwrap();
    let (handle, shutdown) = (sandbox.handle(), CancellationToken::new());
    let address = sandbox.base_url().strip_prefix("http://").unwrap().to_owned();
    let serving = tokio::spawn(sandbox.serve(shutdown.clone()));
    let mut connection = TcpStream::connect(&address).await.unwrap();
    for _ in 0..2 {
        let answer = get(&mut connection, &format!("{OPEN_FHIR_PATH}/Patient/{FIRST_PATIENT}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    assert_eq!(handle.log().len(), 2);
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(4), serving).await.expect("an idle connection holds nobody up").unwrap();
    assert!(TcpStream::connect(&address).await.is_err());
}

#[tokio::test]
async fn the_public_url_is_the_base_of_everything() {
    let settings = Settings { public_url: Some("https://ehr.example.org/".to_owned()), ..anywhere() };
    let handle = Sandbox::bind(settings).await.unwrap().handle();
    assert_eq!(handle.token_url(), "https://ehr.example.org/interconnect/oauth2/token");
    assert_eq!(handle.fhir_base_url(), "https://ehr.example.org/interconnect/api/FHIR/R4");
    for bad in ["ehr.example.org", "ftp://ehr.example.org", "https://ehr.example.org/?a", "https://u:p@ehr.example.org"]
    {
        let settings = Settings { public_url: Some(bad.to_owned()), ..anywhere() };
        let error = Sandbox::bind(settings).await.unwrap_err().to_string();
        assert_eq!(
            error,
            format!("the public URL {bad:?} is not an absolute http or https URL without query and fragment")
        );
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_with_what_to_do() {
    let first = Sandbox::bind(anywhere()).await.unwrap();
    let address = first.base_url().strip_prefix("http://").unwrap().parse().unwrap();
    let error = Sandbox::bind(Settings { listen: address, ..anywhere() }).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("the sandbox cannot listen on {address}: ")), "{error}");
    assert!(error.ends_with("choose another with --listen"), "{error}");
}
