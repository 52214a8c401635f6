//! One thing that was looked at.

use serde::Serialize;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Check {
    pub(super) group: Group,
    pub(super) state: State,
    /// What is so.
    pub(super) finding: String,
    /// What to do, most helpful first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) hints: Vec<String>,
}

/// What belongs together, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Group {
    /// Whoever is asked.
    Server,
    /// The cluster around the installation.
    Cluster,
    /// What was committed.
    Objects,
    /// Key pairs.
    Keys,
    /// The EHRs, as the installation sees them.
    Ehrs,
    /// Public URLs, as this machine sees them.
    Urls,
    /// Time.
    Clock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum State {
    Fine,
    /// Works, and somebody should look.
    Doubtful,
    Failed,
}

impl Group {
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Cluster => "cluster",
            Self::Objects => "objects",
            Self::Keys => "keys",
            Self::Ehrs => "EHRs, as the installation sees them",
            Self::Urls => "public URLs, as seen from here",
            Self::Clock => "clock",
        }
    }
}

impl Check {
    pub(super) fn fine(group: Group, finding: impl Into<String>) -> Self {
        Self { group, state: State::Fine, finding: finding.into(), hints: Vec::new() }
    }

    pub(super) fn doubtful(group: Group, finding: impl Into<String>) -> Self {
        Self { state: State::Doubtful, ..Self::fine(group, finding) }
    }

    pub(super) fn failed(group: Group, finding: impl Into<String>) -> Self {
        Self { state: State::Failed, ..Self::fine(group, finding) }
    }

    #[must_use]
    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    #[must_use]
    pub(super) fn with_hints(mut self, hints: impl IntoIterator<Item = String>) -> Self {
        self.hints.extend(hints);
        self
    }
}
