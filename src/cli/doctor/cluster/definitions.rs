//! Whether the cluster knows the four kinds as this version of hearthgate does.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, ResourceExt as _};

use super::super::check::{Check, Group};
use super::in_time;
use crate::api::crd;

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) async fn check(client: &Client) -> Check {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let (mut missing, mut other) = (Vec::new(), Vec::new());
    for ours in crd::definitions() {
        let name = ours.name_any();
        match in_time(definitions.get_opt(&name)).await {
            Ok(None) => missing.push(name),
            Ok(Some(found)) if found.spec.versions == ours.spec.versions => {}
            Ok(Some(_)) => other.push(name),
            Err(failure) => {
                let finding =
                    format!("whether the kinds are defined as by hearthgate {VERSION} cannot be seen: {failure}");
                return Check::doubtful(Group::Cluster, finding)
                    .with_hint("Somebody who may get customresourcedefinitions sees it.");
            }
        }
    }
    told(&missing, &other)
}

fn told(missing: &[String], other: &[String]) -> Check {
    const INSTALL: &str = "Upgrade the chart, or: hearthgate crds | kubectl apply --server-side -f -";
    if !missing.is_empty() {
        return Check::failed(Group::Cluster, format!("not installed: {}", missing.join(", "))).with_hint(INSTALL);
    }
    if !other.is_empty() {
        let finding = format!("defined otherwise than by hearthgate {VERSION}, which asks: {}", other.join(", "));
        return Check::doubtful(Group::Cluster, finding)
            .with_hint("Fields that only one of the two knows are dropped, or not explained. Ask with the hearthgate of the installation's version, or bring the definitions up to date.")
            .with_hint(INSTALL);
    }
    Check::fine(Group::Cluster, format!("the four kinds are defined as by hearthgate {VERSION}"))
}

#[cfg(test)]
mod tests {
    use super::super::super::check::State;
    use super::*;

    #[test]
    fn what_is_missing_is_worse_than_what_is_old() {
        let name = ["activations.hearthgate.dev".to_owned()];
        assert_eq!(told(&[], &[]).state, State::Fine);
        assert_eq!(told(&[], &name).state, State::Doubtful);
        let missing = told(&name, &name);
        assert_eq!(
            (missing.state, missing.finding.as_str()),
            (State::Failed, "not installed: activations.hearthgate.dev")
        );
    }
}
