//! SMART scopes that are granted to a user (SMART App Launch 2.2, scopes and launch context), read by this EHR's own eyes.

/// One scope that this EHR understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UserScope {
    OpenId,
    FhirUser,
    Profile,
    /// The context of an EHR launch.
    Launch,
    /// A patient is to be chosen.
    LaunchPatient,
    /// An encounter is to be chosen.
    LaunchEncounter,
    OfflineAccess,
    OnlineAccess,
    /// Access to resources.
    Clinical(ClinicalScope),
}

/// Whose data a clinical scope is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// The patient in context.
    Patient,
    /// What the user may see.
    User,
}

/// `patient/Observation.rs?category=laboratory`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClinicalScope {
    pub(super) level: Level,
    /// A resource type, or `*`.
    kind: String,
    /// A subset of `cruds`, in that order.
    letters: String,
    /// Search parameters that a resource must meet.
    pub(super) filter: Vec<(String, String)>,
}

impl UserScope {
    /// Reads one scope; `None` for what this EHR does not grant to users, `system/` scopes among it.
    pub(super) fn parse(text: &str) -> Option<UserScope> {
        Some(match text {
            "openid" => UserScope::OpenId,
            "fhirUser" => UserScope::FhirUser,
            "profile" => UserScope::Profile,
            "launch" => UserScope::Launch,
            "launch/patient" => UserScope::LaunchPatient,
            "launch/encounter" => UserScope::LaunchEncounter,
            "offline_access" => UserScope::OfflineAccess,
            "online_access" => UserScope::OnlineAccess,
            other => UserScope::Clinical(ClinicalScope::parse(other)?),
        })
    }
}

impl ClinicalScope {
    fn parse(text: &str) -> Option<ClinicalScope> {
        let (head, query) = text.split_once('?').unwrap_or((text, ""));
        let (level, rest) = head.split_once('/')?;
        let level = match level {
            "patient" => Level::Patient,
            "user" => Level::User,
            _ => return None,
        };
        let (kind, permission) = rest.split_once('.')?;
        let named = kind.starts_with(|first: char| first.is_ascii_uppercase())
            && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if kind != "*" && !named {
            return None;
        }
        let letters = match permission {
            // SMART v1 in terms of v2; `.read` includes searching.
            "read" => "rs",
            "write" => "cud",
            "*" => "cruds",
            letters if in_order(letters) => letters,
            _ => return None,
        };
        let filter = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Some(ClinicalScope { level, kind: kind.to_owned(), letters: letters.to_owned(), filter })
    }

    /// Whether it is about this type and permits this: `c`, `r`, `u`, `d` or `s`.
    pub(super) fn covers(&self, kind: &str, letter: char) -> bool {
        (self.kind == "*" || self.kind == kind) && self.letters.contains(letter)
    }
}

/// What a scope lets an app do, in words for the person who is asked.
pub(super) fn in_words(text: &str) -> String {
    let words = match UserScope::parse(text) {
        None => "This EHR does not grant it to users",
        Some(UserScope::OpenId) => "Recognise you when you come again",
        Some(UserScope::FhirUser | UserScope::Profile) => "Know who you are",
        Some(UserScope::Launch) => "Know whose chart is open",
        Some(UserScope::LaunchPatient) => "Have you choose a patient",
        Some(UserScope::LaunchEncounter) => "Know the patient's last encounter",
        Some(UserScope::OfflineAccess) => "Go on while you are away",
        Some(UserScope::OnlineAccess) => "Go on while you are logged in",
        Some(UserScope::Clinical(scope)) => return scope.in_words(),
    };
    words.to_owned()
}

impl ClinicalScope {
    fn in_words(&self) -> String {
        let verbs = [('c', "create"), ('r', "read"), ('u', "change"), ('d', "delete"), ('s', "search")];
        let verbs: Vec<&str> =
            verbs.into_iter().filter_map(|(letter, verb)| self.letters.contains(letter).then_some(verb)).collect();
        let verbs = match verbs.as_slice() {
            [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
            all => all.concat(),
        };
        let kind = if self.kind == "*" { "everything" } else { &self.kind };
        let whose = match self.level {
            Level::Patient => "of the patient",
            Level::User => "that you may see yourself",
        };
        let filter: Vec<String> = self.filter.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let filter = if filter.is_empty() { String::new() } else { format!(", where {}", filter.join(" and ")) };
        let mut words = format!("{verbs} {kind} {whose}{filter}");
        if let Some(first) = words.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        words
    }
}

/// Whether it is a non-empty subset of `cruds` in that order; SMART says that others may be refused.
fn in_order(letters: &str) -> bool {
    let mut rest = "cruds".chars();
    !letters.is_empty() && letters.chars().all(|letter| rest.any(|known| known == letter))
}

/// What of the requested scopes is granted, as text and understood. Patient scopes need a patient in context.
pub(super) fn granted(requested: &str, patient: bool, ehr_launch: bool) -> (String, Vec<UserScope>) {
    let mut texts: Vec<&str> = Vec::new();
    let mut scopes = Vec::new();
    for text in requested.split(' ').filter(|text| !text.is_empty()) {
        let Some(scope) = UserScope::parse(text) else { continue };
        let possible = match &scope {
            UserScope::Clinical(clinical) => clinical.level == Level::User || patient,
            UserScope::LaunchPatient | UserScope::LaunchEncounter => patient,
            UserScope::Launch => ehr_launch,
            UserScope::OpenId
            | UserScope::FhirUser
            | UserScope::Profile
            | UserScope::OfflineAccess
            | UserScope::OnlineAccess => true,
        };
        if possible && !texts.contains(&text) {
            texts.push(text);
            scopes.push(scope);
        }
    }
    (texts.join(" "), scopes)
}

/// Whether every scope of `narrower` is one of `held` (RFC 6749 §6: a refresh must not widen).
pub(super) fn is_subset(narrower: &str, held: &str) -> bool {
    narrower.split(' ').filter(|text| !text.is_empty()).all(|text| held.split(' ').any(|other| other == text))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("openid", "Recognise you when you come again")]
    #[case("patient/Observation.rs", "Read and search Observation of the patient")]
    #[case("patient/*.read", "Read and search everything of the patient")]
    #[case("user/Appointment.cruds", "Create, read, change, delete and search Appointment that you may see yourself")]
    #[case("patient/Observation.s?category=laboratory", "Search Observation of the patient, where category=laboratory")]
    #[case("system/Patient.rs", "This EHR does not grant it to users")]
    fn a_person_is_told_in_words(#[case] scope: &str, #[case] words: &str) {
        assert_eq!(in_words(scope), words);
    }
}
