//! `cargo cluster`: the control plane of the tests, by hand. Runs until Ctrl-C.

#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a tool for developers of this repository"
)]

#[path = "built.rs"]
mod built;
#[path = "control_plane.rs"]
mod control_plane;
#[path = "guarded.rs"]
mod guarded;

use control_plane::{ADMIN, ControlPlane};

#[tokio::main]
async fn main() {
    let plane = ControlPlane::start().await;
    plane.install_crds().await;
    println!("A fresh kube-apiserver and etcd, with the CRDs of Hearthgate, at {}.", plane.url());
    println!("No kubelet and no controllers: objects are kept, nothing runs. Ctrl-C ends it and removes everything.\n");
    println!("  export KUBECONFIG={}", plane.kubeconfig(ADMIN).await.display());
    println!("  kubectl apply -f examples/quickstart && kubectl get hearthgate");
    tokio::signal::ctrl_c().await.expect("a signal");
}
