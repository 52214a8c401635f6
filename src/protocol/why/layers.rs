//! Who of App, Activation and Gateway permits something by its scopes, and who does not.

use super::{Mark, Stance};
use crate::snapshot::{Activation, Compiled, Kind, ObjectReference};
use crate::values::scope::{Scope, ScopeSet};

/// One list of scopes in the configuration.
struct Layer<'world> {
    object: ObjectReference,
    field: &'static str,
    /// As written.
    scopes: &'world [String],
}

/// What each list says to something that `permits` judges. Of lists that permit it only together, the one that takes it
/// away from those before it is to blame.
pub(super) fn marks(world: &Compiled<'_>, activation: &Activation, permits: impl Fn(&ScopeSet) -> bool) -> Vec<Mark> {
    let mut left: Option<ScopeSet> = None;
    let mut denied = false;
    layers(world, activation)
        .into_iter()
        .map(|layer| {
            let own = set(layer.scopes);
            let before = left.take();
            let now = before.as_ref().map_or_else(|| own.clone(), |before| before.intersect(&own));
            let takes_away = !denied && !permits(&now);
            left = Some(now);
            if permits(&own) && !takes_away {
                let alone = layer.scopes.iter().position(|scope| permits(&set(std::slice::from_ref(scope))));
                return match alone.and_then(|index| Some((index, layer.scopes.get(index)?))) {
                    Some((index, scope)) => layer.mark(format!("{}[{index}]", layer.field), scope, Stance::Permits),
                    None => layer.mark(layer.field.into(), &layer.scopes.join(" "), Stance::Permits),
                };
            }
            denied = true;
            let says = if layer.scopes.is_empty() { "nothing".to_owned() } else { layer.scopes.join(" ") };
            layer.mark(layer.field.into(), &says, Stance::Denies)
        })
        .collect()
}

impl Layer<'_> {
    fn mark(&self, field: String, says: &str, stance: Stance) -> Mark {
        Mark { object: self.object.clone(), field, says: says.into(), stance }
    }
}

fn set(scopes: &[String]) -> ScopeSet {
    scopes.iter().filter_map(|scope| scope.parse::<Scope>().ok()).collect()
}

/// The lists that there are, in the order in which a grant meets them. An absent one binds nobody.
fn layers<'world>(world: &Compiled<'world>, activation: &Activation) -> Vec<Layer<'world>> {
    let (app, gateway) = (&activation.app.key, &activation.gateway.key);
    let resources = world.resources;
    let of_app = resources.apps.get(app).map(|own| own.spec.scopes.as_slice());
    let of_activation = resources.activations.get(&activation.key).and_then(|own| own.spec.scopes.as_deref());
    let of_gateway = resources.gateways.get(gateway).and_then(|own| own.spec.allowed_scopes.as_deref());
    let layer = |kind, key: &_, field, scopes: Option<&'world [String]>| {
        scopes.map(|scopes| Layer { object: ObjectReference::new(kind, Clone::clone(key)), field, scopes })
    };
    [
        layer(Kind::App, app, "spec.scopes", of_app),
        layer(Kind::Activation, &activation.key, "spec.scopes", of_activation),
        layer(Kind::Gateway, gateway, "spec.allowedScopes", of_gateway),
    ]
    .into_iter()
    .flatten()
    .collect()
}
