//! The quickstart that is inside the binary: `serve` without a directory.

use std::io;
use std::path::{Path, PathBuf};

/// The files of `examples/quickstart`.
const FILES: [(&str, &str); 4] = [
    ("data-adapter.yaml", include_str!("../../../examples/quickstart/data-adapter.yaml")),
    ("gateway.yaml", include_str!("../../../examples/quickstart/gateway.yaml")),
    ("app.yaml", include_str!("../../../examples/quickstart/app.yaml")),
    ("activation.yaml", include_str!("../../../examples/quickstart/activation.yaml")),
];

/// Where the quickstart's URLs point.
const SANDBOX: &str = "127.0.0.1:8090";

/// Writes the quickstart into a fresh directory, where it can be edited like any other. `sandbox`: where the simulated
/// EHR listens.
pub(super) fn unpack(sandbox: &str) -> io::Result<PathBuf> {
    let directory = std::env::temp_dir().join(format!("hearthgate-quickstart-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    for (name, text) in FILES {
        write(&directory.join(name), &text.replace(SANDBOX, sandbox))?;
    }
    Ok(directory)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    std::fs::write(path, text)
}
