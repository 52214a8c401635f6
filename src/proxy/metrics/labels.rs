//! The sets of labels that metrics have.

use prometheus_client::encoding::EncodeLabelSet;

use super::series::{Labels, Object};
use crate::snapshot::Snapshot;

macro_rules! labels {
    ($($name:ident { $($field:ident: $type:ty),+ } lives $lives:expr;)+) => {$(
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(super) struct $name { $(pub(super) $field: $type),+ }

        impl Labels for $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($field)),+];

            fn live_in(&self, snapshot: &Snapshot) -> bool {
                let lives: fn(&Self, &Snapshot) -> bool = $lives;
                lives(self, snapshot)
            }
        }
    )+};
}

labels! {
    Requests { gateway: Object, app: Object, endpoint: &'static str, status: u16 } lives |labels, snapshot| {
        labels.gateway.is(|key| snapshot.gateways.contains_key(key)) && labels.app.is(|key| snapshot.apps.contains_key(key))
    };
    Denials { gateway: Object, app: Object, code: &'static str } lives |labels, snapshot| {
        labels.gateway.is(|key| snapshot.gateways.contains_key(key)) && labels.app.is(|key| snapshot.apps.contains_key(key))
    };
    Latency { gateway: Object, app: Object, endpoint: &'static str } lives |labels, snapshot| {
        labels.gateway.is(|key| snapshot.gateways.contains_key(key)) && labels.app.is(|key| snapshot.apps.contains_key(key))
    };
    ActivationRequests { activation: Object, class: &'static str } lives |labels, snapshot| {
        labels.activation.is(|key| snapshot.activations.contains_key(key))
    };
    TokenUses { activation: Object, result: &'static str } lives |labels, snapshot| {
        labels.activation.is(|key| snapshot.activations.contains_key(key))
    };
    ActivationOnly { activation: Object } lives |labels, snapshot| {
        labels.activation.is(|key| snapshot.activations.contains_key(key))
    };
    EhrCalls { adapter: Object, outcome: &'static str } lives |labels, snapshot| {
        labels.adapter.is(|key| snapshot.data_adapters.contains_key(key))
    };
    AdapterOnly { adapter: Object } lives |labels, snapshot| {
        labels.adapter.is(|key| snapshot.data_adapters.contains_key(key))
    };
}
