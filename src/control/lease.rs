//! Who of several operators acts: a Lease (coordination.k8s.io/v1), as kubectl and people know it.
//!
//! It only saves work. Two leaders at once do no harm: a key is made by a plain create and adopted by whoever comes
//! second, and statuses are applied whole. So clocks of different machines are never compared: a Lease is over when
//! this process has seen no change of it for as long as it says that it lasts.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

use crate::values::api_failure::ApiFailure;

/// The Lease's name, and how long everything takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// Its namespace: the pod's own.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who asks for it; unique, so that a process that was restarted is another one.
    pub identity: String,
    /// How long a standby waits after the last sign of life.
    pub duration: Duration,
    /// How long a leader that cannot renew goes on.
    pub renew_deadline: Duration,
    /// How often it is renewed or asked for.
    pub retry: Duration,
}

impl LeaseSettings {
    /// 15 seconds, given up after 10, renewed every 2.
    pub fn new(namespace: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: "hearthgate-operator".into(),
            identity: identity.into(),
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// Why this process leads no longer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseLost {
    /// Another process has it.
    #[error("{holder} leads now")]
    Taken {
        /// Who.
        holder: String,
    },
    /// It could not be renewed in time.
    #[error("the lease could not be renewed for {seconds} s: {failure}")]
    NotRenewed {
        /// For how long.
        seconds: u64,
        /// What came of the last attempt.
        failure: ApiFailure,
    },
}

/// One who asks for the Lease, or has it.
pub struct Candidate {
    leases: Api<Lease>,
    settings: LeaseSettings,
    /// The Lease as it was last seen, and when it was first seen so.
    seen: Option<(Lease, Instant)>,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Candidate").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What came of one attempt.
enum Attempt {
    Held,
    HeldBy(String),
    /// Somebody was faster; look again.
    Overtaken,
}

impl Candidate {
    /// Asks for nothing yet.
    pub fn new(client: Client, settings: LeaseSettings) -> Self {
        Self { leases: Api::namespaced(client, &settings.namespace), settings, seen: None }
    }

    /// Returns when this process leads.
    pub async fn acquire(&mut self) {
        let mut told = String::new();
        loop {
            let obstacle = match self.attempt_in_time().await {
                Ok(Attempt::Held) => {
                    tracing::info!(identity = self.settings.identity, "leads");
                    return;
                }
                Ok(Attempt::HeldBy(holder)) => format!("standing by: {holder} leads"),
                Ok(Attempt::Overtaken) => {
                    sleep(self.settings.retry / 20).await;
                    continue;
                }
                Err(failure) => format!("cannot ask for the lease: {failure}"),
            };
            if obstacle != told {
                tracing::info!("{obstacle}");
                told = obstacle;
            }
            sleep(self.settings.retry).await;
        }
    }

    /// Renews until that fails for good. Whoever leads stops acting when this returns.
    pub async fn hold(&mut self) -> LeaseLost {
        let mut renewed = Instant::now();
        let mut failure = ApiFailure::TimedOut;
        loop {
            sleep(self.settings.retry).await;
            let began = Instant::now();
            match self.attempt_in_time().await {
                Ok(Attempt::Held) => renewed = began,
                Ok(Attempt::HeldBy(holder)) => return LeaseLost::Taken { holder },
                // Our own write whose answer was lost, or somebody's edit: the next attempt reads it.
                Ok(Attempt::Overtaken) => {}
                Err(error) => failure = error,
            }
            if renewed.elapsed() >= self.settings.renew_deadline {
                return LeaseLost::NotRenewed { seconds: renewed.elapsed().as_secs(), failure };
            }
        }
    }

    /// Gives it back, so that a standby need not wait. Best effort.
    pub async fn release(mut self) {
        let Some((lease, _)) = self.seen.take() else { return };
        if holder(&lease) != Some(self.settings.identity.as_str()) {
            return;
        }
        let mut lease = lease;
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        spec.lease_duration_seconds = Some(1);
        let parameters = PostParams::default();
        let replaced = self.leases.replace(&self.settings.name, &parameters, &lease);
        if let Ok(Err(error)) = timeout(self.settings.retry, replaced).await {
            tracing::debug!("the lease was not given back: {}", ApiFailure::from(error));
        }
    }

    async fn attempt_in_time(&mut self) -> Result<Attempt, ApiFailure> {
        let limit = self.settings.renew_deadline / 2;
        timeout(limit, self.attempt()).await.unwrap_or(Err(ApiFailure::TimedOut))
    }

    async fn attempt(&mut self) -> Result<Attempt, ApiFailure> {
        // What we wrote last is most likely what is there: renewing costs one call.
        if let Some((lease, _)) = &self.seen
            && holder(lease) == Some(self.settings.identity.as_str())
        {
            let lease = lease.clone();
            return self.write(Some(lease)).await;
        }
        let Some(lease) = self.leases.get_opt(&self.settings.name).await? else { return self.write(None).await };
        let holder = holder(&lease).unwrap_or_default().to_owned();
        let is_over = self.is_over(&lease);
        if holder.is_empty() || holder == self.settings.identity || is_over {
            return self.write(Some(lease)).await;
        }
        Ok(Attempt::HeldBy(holder))
    }

    /// Whether the Lease was seen unchanged for as long as it lasts.
    fn is_over(&mut self, lease: &Lease) -> bool {
        let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        let lasts = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        match &self.seen {
            Some((seen, since)) if seen.metadata.resource_version == lease.metadata.resource_version => {
                since.elapsed() >= lasts
            }
            Some(_) | None => {
                self.seen = Some((lease.clone(), Instant::now()));
                false
            }
        }
    }

    /// Writes the Lease in our name, provided that nobody wrote it since.
    async fn write(&mut self, before: Option<Lease>) -> Result<Attempt, ApiFailure> {
        let now = MicroTime(Timestamp::now());
        let lease = claimed(&self.settings, before.as_ref(), now);
        let parameters = PostParams::default();
        let is_there = before.is_some();
        let written = match before {
            Some(_) => self.leases.replace(&self.settings.name, &parameters, &lease).await,
            None => self.leases.create(&parameters, &lease).await,
        };
        match written {
            Ok(lease) => {
                self.seen = Some((lease, Instant::now()));
                Ok(Attempt::Held)
            }
            Err(error) => {
                let failure = ApiFailure::from(error);
                // That a Lease is not found that we would make is its namespace missing.
                if failure.is_conflict() || (failure.is_not_found() && is_there) {
                    self.seen = None;
                    return Ok(Attempt::Overtaken);
                }
                Err(failure)
            }
        }
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// The Lease as it reads once it is ours.
fn claimed(settings: &LeaseSettings, before: Option<&Lease>, now: MicroTime) -> Lease {
    let spec = before.and_then(|lease| lease.spec.clone()).unwrap_or_default();
    let is_renewal = spec.holder_identity.as_deref() == Some(settings.identity.as_str());
    let transitions = spec.lease_transitions.unwrap_or_default();
    Lease {
        metadata: before.map_or_else(
            || ObjectMeta {
                name: Some(settings.name.clone()),
                namespace: Some(settings.namespace.clone()),
                ..ObjectMeta::default()
            },
            |lease| ObjectMeta { managed_fields: None, ..lease.metadata.clone() },
        ),
        spec: Some(LeaseSpec {
            acquire_time: if is_renewal { spec.acquire_time.clone() } else { Some(now.clone()) },
            holder_identity: Some(settings.identity.clone()),
            lease_duration_seconds: i32::try_from(settings.duration.as_secs()).ok(),
            lease_transitions: Some(if is_renewal || before.is_none() { transitions } else { transitions + 1 }),
            renew_time: Some(now),
            ..spec
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> MicroTime {
        MicroTime(text.parse().unwrap())
    }

    #[test]
    fn renewing_keeps_when_it_was_acquired_and_taking_over_counts() {
        let (first, second) = (LeaseSettings::new("gateway", "first"), LeaseSettings::new("gateway", "second"));
        let made = claimed(&first, None, time("2026-01-01T00:00:00Z"));
        let renewed = claimed(&first, Some(&made), time("2026-01-01T00:00:02Z")).spec.unwrap();
        assert_eq!(renewed.acquire_time, Some(time("2026-01-01T00:00:00Z")));
        assert_eq!(renewed.renew_time, Some(time("2026-01-01T00:00:02Z")));
        assert_eq!((renewed.lease_transitions, renewed.lease_duration_seconds), (Some(0), Some(15)));
        let taken = claimed(&second, Some(&made), time("2026-01-01T00:01:00Z")).spec.unwrap();
        assert_eq!(taken.acquire_time, Some(time("2026-01-01T00:01:00Z")));
        assert_eq!((taken.lease_transitions, taken.holder_identity.as_deref()), (Some(1), Some("second")));
    }
}
