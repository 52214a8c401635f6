//! What statuses say already: so that the same is not written twice, and a transition is seen.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::events::Transition;
use crate::api::{self, Condition};
use crate::control::ObjectStatus;
use crate::control::sink::Recorded;
use crate::snapshot::resources::{Observed, ObservedActivation};
use crate::snapshot::{Kind, ObjectKey, ObjectReference};
use crate::values::api_failure::ApiFailure;

/// How many objects come in one answer.
const PAGE: u32 = 500;

/// What each object's status says.
#[derive(Debug, Default)]
pub(super) struct Known {
    objects: HashMap<ObjectReference, Arc<ObjectStatus>>,
}

impl Known {
    pub(super) fn of(recorded: &Recorded) -> Self {
        let objects = recorded.objects.iter().map(|status| (status.object.clone(), Arc::clone(status)));
        Self { objects: objects.collect() }
    }

    /// Forgets objects that are told of no longer.
    pub(super) fn retain(&mut self, recorded: &Recorded) {
        let told: HashSet<&ObjectReference> = recorded.objects.iter().map(|status| &status.object).collect();
        self.objects.retain(|object, _| told.contains(object));
    }

    /// Whether this status has to be written. An object that never came to be has none.
    pub(super) fn differs(&self, status: &ObjectStatus) -> bool {
        let known = self.objects.get(&status.object);
        let is_known = known.is_some_and(|known| known.uid == status.uid && known.status == status.status);
        !is_known && !status.uid.is_empty()
    }

    /// Notes what was written, and finds what became of the conditions.
    pub(super) fn learn(&mut self, status: &Arc<ObjectStatus>) -> Vec<Transition> {
        let before = self.objects.insert(status.object.clone(), Arc::clone(status));
        let before = before.filter(|before| before.uid == status.uid).map(|before| before.conditions());
        let before = before.unwrap_or_default();
        let transition = |now: Condition| {
            let told = before.iter().find(|before| before.type_ == now.type_);
            Transition::between(told.map(|told| (told.status, told.reason.as_str())), now)
        };
        status.conditions().into_iter().filter_map(transition).collect()
    }
}

/// What statuses hold of all objects of our kinds.
pub(super) async fn read(client: &Client, namespaces: &BTreeSet<String>) -> Result<Recorded, ApiFailure> {
    let mut recorded = Recorded::default();
    let scopes: Vec<Option<&str>> = if namespaces.is_empty() {
        vec![None]
    } else {
        namespaces.iter().map(|namespace| Some(namespace.as_str())).collect()
    };
    for scope in scopes {
        list::<api::DataAdapter>(client, scope, &mut recorded).await?;
        list::<api::Gateway>(client, scope, &mut recorded).await?;
        list::<api::App>(client, scope, &mut recorded).await?;
        list::<api::Activation>(client, scope, &mut recorded).await?;
    }
    recorded.objects.sort_by(|one, other| one.object.cmp(&other.object));
    Ok(recorded)
}

/// A kind with a status of ours.
trait Told:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + 'static
{
    const KIND: Kind;
    type Status: Serialize;

    fn status(self) -> Option<Self::Status>;

    /// Notes what is read back of it.
    fn observe(_: &ObjectKey, _: &Self::Status, _: &mut Observed) {}
}

macro_rules! told {
    ($kind:ident, $status:ident $(, $observe:item)?) => {
        impl Told for api::$kind {
            const KIND: Kind = Kind::$kind;
            type Status = api::$status;

            fn status(self) -> Option<Self::Status> {
                self.status
            }

            $($observe)?
        }
    };
}

told!(DataAdapter, DataAdapterStatus);
told!(
    Gateway,
    GatewayStatus,
    fn observe(key: &ObjectKey, status: &Self::Status, observed: &mut Observed) {
        if let Some(revision) = status.signing_revision {
            observed.gateways.insert(key.to_string(), revision);
        }
    }
);
told!(App, AppStatus);
told!(
    Activation,
    ActivationStatus,
    fn observe(key: &ObjectKey, status: &Self::Status, observed: &mut Observed) {
        let activation = ObservedActivation::of(status);
        if activation != ObservedActivation::default() {
            observed.activations.insert(key.to_string(), Arc::new(activation));
        }
    }
);

async fn list<Of: Told>(client: &Client, namespace: Option<&str>, recorded: &mut Recorded) -> Result<(), ApiFailure> {
    let objects: Api<DeserializeGuard<Of>> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = objects.list(&parameters).await?;
        for object in page.items {
            let metadata = object.meta();
            let (Some(namespace), Some(name), Some(uid)) =
                (metadata.namespace.clone(), metadata.name.clone(), metadata.uid.clone())
            else {
                continue;
            };
            let generation = metadata.generation.unwrap_or_default();
            let key = ObjectKey::new(namespace, name);
            // One that cannot be read gets its status anew.
            let Some(status) = object.0.ok().and_then(Told::status) else { continue };
            Of::observe(&key, &status, &mut recorded.observed);
            let object = ObjectReference::new(Of::KIND, key);
            let status = Arc::new(serde_json::to_value(&status).unwrap_or_default());
            recorded.objects.push(Arc::new(ObjectStatus { object, uid, generation, status }));
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(uid: &str, ready: &str, reason: &str) -> Arc<ObjectStatus> {
        Arc::new(ObjectStatus {
            object: ObjectReference::new(Kind::App, ObjectKey::new("default", "sync")),
            uid: uid.into(),
            generation: 1,
            status: Arc::new(json!({ "observedGeneration": 1, "conditions": [{
                "type": "Ready", "status": ready, "reason": reason, "message": "so it is",
                "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]})),
        })
    }

    #[test]
    fn the_same_status_is_written_once() {
        let mut known = Known::default();
        let ready = status("1", "True", "Ready");
        assert!(known.differs(&ready));
        known.learn(&ready);
        assert!(!known.differs(&ready));
        assert!(known.differs(&status("1", "False", "Pending")));
        assert!(known.differs(&status("2", "True", "Ready")), "an object made anew has a status of its own");
        assert!(!known.differs(&status("", "True", "Ready")), "an object that never came to be has none");
    }

    #[test]
    fn what_was_read_at_the_start_is_not_written_again() {
        let recorded = Recorded { objects: vec![status("1", "True", "Ready")], observed: Observed::default() };
        let mut known = Known::of(&recorded);
        assert!(!known.differs(&recorded.objects[0]));
        known.retain(&Recorded::default());
        assert!(known.differs(&recorded.objects[0]));
    }

    #[test]
    fn a_transition_is_told_once() {
        let mut known = Known::default();
        let told = |transitions: Vec<Transition>| transitions.into_iter().map(|one| one.reason).collect::<Vec<_>>();
        assert_eq!(told(known.learn(&status("1", "False", "Pending"))), Vec::<String>::new());
        assert_eq!(told(known.learn(&status("1", "True", "Ready"))), ["Ready"]);
        assert_eq!(told(known.learn(&status("1", "True", "Ready"))), Vec::<String>::new());
        assert_eq!(told(known.learn(&status("1", "False", "InvalidSpec"))), ["InvalidSpec"]);
    }
}
