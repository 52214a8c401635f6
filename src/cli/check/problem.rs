//! What is wrong, and where it stands.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::suppression::{self, Suppressed, Suppressions};
use crate::snapshot::report::Detail;
use crate::snapshot::resources::Location;
use crate::snapshot::{NotLive, ObjectReference, Report};
use crate::source::loaded::Loaded;
use crate::values::code::{Code, Group};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli) enum Severity {
    /// The object, or what refers to it, would not be served.
    Error,
    /// Worth knowing.
    Warning,
}

impl Severity {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Problem {
    /// Where it stands; objects that are in no file have no place.
    pub(super) location: Option<Location>,
    pub(super) severity: Severity,
    pub(super) code: Code,
    pub(super) object: Option<ObjectReference>,
    pub(super) message: String,
    /// Somebody has looked at it, and said so in the YAML: it is not told, and does not count.
    pub(super) suppressed: Option<Suppressed>,
}

/// Everything that is wrong, in the order of files and lines.
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// Gathers what an API server would refuse and what the compiler found.
    pub(super) fn collect(loaded: &Loaded, reports: &[Report], now: Timestamp) -> Self {
        let refused = loaded.rejections.iter().map(|rejection| Problem {
            location: Some(rejection.location.clone()),
            severity: Severity::Error,
            code: rejection.code,
            object: rejection.object.clone(),
            message: rejection.message.clone(),
            suppressed: None,
        });
        let mut problems: Vec<Problem> = refused.collect();
        for report in reports {
            // A refused document is told above, in its own words.
            let found = report.findings.iter().filter(|_| loaded.objects.contains_key(&report.object));
            problems.extend(found.filter_map(|finding| {
                Some(Problem {
                    location: loaded.locate(&report.object, &finding.field),
                    severity: severity(finding.code)?,
                    code: finding.code,
                    object: Some(report.object.clone()),
                    message: finding.message.clone(),
                    suppressed: None,
                })
            }));
            if let Err(over @ NotLive::Over(_)) = report.live_at(now) {
                problems.push(Problem {
                    location: loaded.locate(&report.object, "spec.expiresAt"),
                    severity: Severity::Warning,
                    code: Code::WindowOver,
                    object: Some(report.object.clone()),
                    message: over.to_string(),
                    suppressed: None,
                });
            }
        }
        problems.extend(winners_of_conflicts(loaded, reports));
        problems.sort();
        problems.dedup();
        let mut suppressions = Suppressions::of(loaded);
        suppressions.apply(&mut problems);
        suppression::spread(&mut problems, reports);
        problems.extend(suppressions.unused());
        problems.sort();
        Self(problems)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// Those that are to be told.
    pub(super) fn told(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter().filter(|problem| problem.suppressed.is_none())
    }

    pub(super) fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    pub(super) fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        self.told().filter(|problem| problem.severity == severity).count()
    }

    pub(super) fn suppressed(&self) -> usize {
        self.0.iter().filter(|problem| problem.suppressed.is_some()).count()
    }
}

/// Offline there are no keys yet, and nothing has been asked: those verdicts say nothing about the YAML.
pub(in crate::cli) const fn severity(code: Code) -> Option<Severity> {
    match code.group() {
        Group::Accepted | Group::ResolvedRefs => Some(Severity::Error),
        Group::Warning => Some(Severity::Warning),
        Group::KeyReady | Group::EhrAuthenticated | Group::Programmed | Group::Probe | Group::Request => None,
    }
}

/// Which of two apps with the same client ID is the older cannot be seen in files: both are an error.
fn winners_of_conflicts(loaded: &Loaded, reports: &[Report]) -> Vec<Problem> {
    let mut holders: BTreeMap<&str, Vec<&Report>> = BTreeMap::new();
    for report in reports {
        if let Detail::App { client_id, .. } = &report.detail {
            holders.entry(client_id).or_default().push(report);
        }
    }
    let in_conflict = |report: &&&Report| !report.findings.iter().any(|own| own.code == Code::ClientIdConflict);
    let contested = holders.into_iter().filter(|(_, holders)| holders.len() > 1);
    contested
        .flat_map(|(client_id, holders)| {
            let others = |own: &Report| {
                let names = holders.iter().filter(|other| other.object != own.object);
                names.map(|other| other.object.to_string()).collect::<Vec<_>>().join(", ")
            };
            let winners = holders.iter().filter(in_conflict);
            winners
                .map(|own| Problem {
                    location: loaded.locate(&own.object, "spec.clientId"),
                    severity: Severity::Error,
                    code: Code::ClientIdConflict,
                    object: Some(own.object.clone()),
                    message: format!("client ID {client_id} is also that of {}", others(own)),
                    suppressed: None,
                })
                .collect::<Vec<_>>()
        })
        .collect()
}
