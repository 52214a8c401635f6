//! What a stream costs in memory while it runs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use tokio::net::TcpSocket;

use super::hearthgate::Hearthgate;

const STREAMS: u16 = 1_000;
/// How much of a stream the system takes before its client reads it, in bytes.
const RECEIVED_AHEAD: u32 = 32 * 1024;

/// KiB a stream above idle, while 1,000 clients have each read the beginning of a 50 MB Bundle and read no further.
pub fn memory_of_a_stream(server: &Hearthgate, token: &str) -> f64 {
    let idle = server.process.memory();
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // The system's memory for all sockets together is limited (tcp_mem), and what is held there is not the proxy's:
        // with buffers that grow to megabytes, a thousand readers of nothing leave none for the last of them.
        let socket = TcpSocket::from_std_stream(stream.try_clone().unwrap());
        socket.set_recv_buffer_size(RECEIVED_AHEAD).unwrap();
        write!(
            stream,
            "GET /default/gate/fhir/Observation?code=50 HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {token}\r\n\r\n",
            server.port
        )
        .unwrap();
        streams.push(stream);
    }
    for stream in &mut streams {
        let mut beginning = [0; 16 * 1024];
        let mut read = 0;
        // A refusal is shorter: what came is told, not waited for.
        while read < beginning.len() {
            read += stream.read(&mut beginning[read..]).unwrap_or_else(|error| {
                panic!("{error} behind {read} bytes: {}", String::from_utf8_lossy(&beginning[..read]))
            });
            assert!(beginning.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&beginning[..read]));
        }
    }
    std::thread::sleep(Duration::from_secs(2));
    (server.process.memory() - idle) / f64::from(STREAMS)
}
