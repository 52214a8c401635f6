//! nginx, tuned as people tune it, passing the same requests on without looking at them.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use super::process::{Process, free_port, wait_for};

/// A running server.
pub struct Nginx {
    pub process: Process,
    port: u16,
    _directory: TempDir,
}

pub fn start(ehr: SocketAddr) -> Nginx {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let home = directory.path().display();
    let configuration = format!(
        "daemon off; worker_processes 1; pid {home}/pid; error_log {home}/error.log crit;
        events {{ worker_connections 4096; }}
        http {{
          access_log off; keepalive_requests 100000000; tcp_nodelay on; sendfile on;
          client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
          uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
          upstream ehr {{ server {ehr}; keepalive 128; keepalive_requests 100000000; }}
          server {{
            listen 127.0.0.1:{port};
            location / {{
              proxy_pass http://ehr; proxy_http_version 1.1; proxy_set_header Connection \"\";
              proxy_buffers 16 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0;
            }}
          }}
        }}"
    );
    let file = directory.path().join("nginx.conf");
    fs::write(&file, configuration).unwrap();
    let process = Process::start(Command::new("nginx").arg("-c").arg(&file));
    wait_for(port);
    Nginx { process: process.with_children(), port, _directory: directory }
}

impl Nginx {
    pub fn fhir(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/fhir{path}", self.port)
    }
}
