//! What a cluster shows of the installation in it, beside its objects: the definitions of the kinds, who runs, what they
//! may do, and whether the proxies reach the store that they share.

mod definitions;
mod permissions;
mod store;
mod workload;

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use kube::{Api, Client};

use self::workload::Workload;
use super::super::live::{LiveOptions, Place};
use super::check::{Check, Group};
use crate::values::api_failure::ApiFailure;

/// Longest time for one answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Questions at once.
const AT_ONCE: usize = 16;

/// Looks at the cluster, where one is asked.
pub(super) async fn checks(live: &LiveOptions) -> Vec<Check> {
    if live.place() != Place::Cluster {
        return Vec::new();
    }
    // Without a cluster there is nothing to look at: that is told where its objects are asked for.
    let Ok(client) = live.connect().await else { return Vec::new() };
    let mut checks = vec![definitions::check(&client).await];
    let workloads = match workloads(&client).await {
        Ok(found) => found,
        Err(failure) => {
            let finding = format!("which operator and proxies run cannot be seen: {failure}");
            checks.push(
                Check::doubtful(Group::Cluster, finding)
                    .with_hint("Somebody who may list Deployments sees more here: roles, replicas, the store."),
            );
            return checks;
        }
    };
    let ours: Vec<Workload> = workloads
        .into_iter()
        .filter(|workload| live.namespace().is_none_or(|namespace| workload.watches(namespace)))
        .collect();
    checks.extend(workload::checks(&ours));
    for workload in &ours {
        checks.push(permissions::check(&client, workload).await);
    }
    checks.extend(store::checks(&client, &ours).await);
    checks
}

/// The Deployments of the chart, wherever they are.
async fn workloads(client: &Client) -> Result<Vec<Workload>, ApiFailure> {
    let deployments: Api<Deployment> = Api::all(client.clone());
    let components = ListParams::default().labels("app.kubernetes.io/component in (operator,proxy)");
    let found = in_time(deployments.list(&components)).await?;
    Ok(found.items.iter().filter_map(Workload::of).collect())
}

async fn in_time<Answer>(asked: impl Future<Output = kube::Result<Answer>>) -> Result<Answer, ApiFailure> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(ApiFailure::TimedOut),
    }
}
