//! The four resources, as they stand in git and in a cluster: one file a kind.
//!
//! A rule about one object alone is CEL in the schema, so that an API server refuses it at `kubectl apply` and the same
//! rule runs offline. Rules between objects are the compiler's.

pub mod activation;
pub mod app;
pub mod common;
pub mod crd;
pub mod data_adapter;
pub mod gateway;

pub use activation::{Activation, ActivationSpec, ActivationStatus};
pub use app::{App, AppSpec, AppStatus, ClientType};
pub use common::{Condition, ConditionStatus, HttpUrl, LocalReference, RedirectUri, SecretKeyReference};
pub use data_adapter::{DataAdapter, DataAdapterSpec, DataAdapterStatus};
pub use gateway::{Gateway, GatewaySpec, GatewayStatus};

/// `observedGeneration` of an object that nobody has looked at yet: never equal to a real generation, so that nothing
/// waiting on it takes the object for healthy before it was seen.
pub const fn unseen() -> i64 {
    -1
}
