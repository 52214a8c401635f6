//! Scopes: SMART App Launch 2.2 "Scopes and Launch Context", both notations, and the algebra of granting.
//!
//! A [`Scope`] is one word of a scope string; a [`ScopeSet`] is what may be granted. Version 1 words are kept as such,
//! so that who asks in version 1 is answered in version 1.

mod parse;
mod set;

use std::fmt;

pub use parse::ScopeError;
pub use set::ScopeSet;

/// One scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Access to FHIR resources: `system/Patient.rs`.
    Resource(ResourceScope),
    /// `private-api`: the adapter's External auth.
    PrivateApi,
    /// A word with a fixed meaning: `openid`, `fhirUser`, `profile`, `launch`, `launch/patient`, `launch/encounter`,
    /// `offline_access`, `online_access`.
    Word(Word),
}

/// The words of SMART App Launch and OpenID Connect that are no resource scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// `openid`
    OpenId,
    /// `fhirUser`
    FhirUser,
    /// `profile`
    Profile,
    /// `launch`
    Launch,
    /// `launch/patient`
    LaunchPatient,
    /// `launch/encounter`
    LaunchEncounter,
    /// `offline_access`
    OfflineAccess,
    /// `online_access`
    OnlineAccess,
}

impl Word {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::OpenId,
        Self::FhirUser,
        Self::Profile,
        Self::Launch,
        Self::LaunchPatient,
        Self::LaunchEncounter,
        Self::OfflineAccess,
        Self::OnlineAccess,
    ];

    /// As it stands in a scope string.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenId => "openid",
            Self::FhirUser => "fhirUser",
            Self::Profile => "profile",
            Self::Launch => "launch",
            Self::LaunchPatient => "launch/patient",
            Self::LaunchEncounter => "launch/encounter",
            Self::OfflineAccess => "offline_access",
            Self::OnlineAccess => "online_access",
        }
    }
}

/// Access to FHIR resources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceScope {
    /// On whose behalf.
    pub context: Context,
    /// `Patient`, …; `None` is `*`, every type.
    pub resource_type: Option<String>,
    /// What may be done.
    pub permissions: Permissions,
    /// Search parameters that narrow the scope (`?category=laboratory`), all of which must hold; sorted.
    pub constraints: Vec<Constraint>,
    /// Written in version 1 notation (`.read`), which has no constraints. The meaning is in `permissions` alone.
    pub version1: bool,
}

/// A search parameter that narrows a scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Constraint {
    /// Name of the search parameter, with its modifier if any.
    pub name: String,
    /// Its value, as written.
    pub value: String,
}

/// On whose behalf a resource scope permits access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Context {
    /// The patient in context only.
    Patient,
    /// What the user may see.
    User,
    /// Without a user.
    System,
}

impl Context {
    /// As it stands before the slash.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Patient => "patient",
            Self::User => "user",
            Self::System => "system",
        }
    }
}

/// A subset of `cruds` (SMART 2: create, read, update, delete, search).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permissions(u8);

impl Permissions {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// `c`: create.
    pub const CREATE: Self = Self(1);
    /// `r`: read, vread, history of an instance.
    pub const READ: Self = Self(1 << 1);
    /// `u`: update, patch.
    pub const UPDATE: Self = Self(1 << 2);
    /// `d`: delete.
    pub const DELETE: Self = Self(1 << 3);
    /// `s`: search, history of a type or the system.
    pub const SEARCH: Self = Self(1 << 4);
    /// Version 1 `.read`: `rs`.
    pub const VERSION1_READ: Self = Self(Self::READ.0 | Self::SEARCH.0);
    /// Version 1 `.write`: `cud`.
    pub const VERSION1_WRITE: Self = Self(Self::CREATE.0 | Self::UPDATE.0 | Self::DELETE.0);
    /// Version 1 `.*`: `cruds`.
    pub const ALL: Self = Self(0b1_1111);

    /// The letters in their fixed order.
    pub(crate) const LETTERS: [(char, Self); 5] =
        [('c', Self::CREATE), ('r', Self::READ), ('u', Self::UPDATE), ('d', Self::DELETE), ('s', Self::SEARCH)];

    /// What is in both.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in `self` alone.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its single permissions, one by one.
    pub fn each(self) -> impl Iterator<Item = Self> {
        Self::LETTERS.into_iter().map(|(_, permission)| permission).filter(move |permission| self.contains(*permission))
    }

    const fn version1(self) -> Option<&'static str> {
        match self {
            Self::VERSION1_READ => Some("read"),
            Self::VERSION1_WRITE => Some("write"),
            Self::ALL => Some("*"),
            _ => None,
        }
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (letter, permission) in Self::LETTERS {
            if self.contains(permission) {
                write!(formatter, "{letter}")?;
            }
        }
        Ok(())
    }
}

impl ResourceScope {
    /// What both permit, in the notation of `self` where it still fits; `None` if that is nothing.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let resource_type = match (&self.resource_type, &other.resource_type) {
            (one, None) => one.clone(),
            (None, other) => other.clone(),
            (Some(one), Some(other)) if one == other => Some(one.clone()),
            (Some(_), Some(_)) => return None,
        };
        let permissions = self.permissions.intersect(other.permissions);
        if self.context != other.context || permissions.is_empty() {
            return None;
        }
        let mut constraints = self.constraints.clone();
        constraints.extend(other.constraints.iter().cloned());
        constraints.sort();
        constraints.dedup();
        let version1 = self.version1 && constraints.is_empty();
        Some(Self { context: self.context, resource_type, permissions, constraints, version1 })
    }

    /// Whether everything that `other` permits is permitted by `self`.
    pub fn covers(&self, other: &Self) -> bool {
        self.permissions.contains(other.permissions) && self.reaches(other)
    }

    /// Whether every resource that `other` speaks of is one that `self` speaks of.
    pub fn reaches(&self, other: &Self) -> bool {
        self.context == other.context
            && (self.resource_type.is_none() || self.resource_type == other.resource_type)
            && self.constraints.iter().all(|constraint| other.constraints.contains(constraint))
    }

    /// Whether both speak of the same resources, and so their permissions add up.
    pub fn has_same_target(&self, other: &Self) -> bool {
        self.context == other.context
            && self.resource_type == other.resource_type
            && self.constraints == other.constraints
    }

    /// Whether it speaks of this type of resources.
    pub fn is_about(&self, resource_type: &str) -> bool {
        self.resource_type.as_deref().is_none_or(|own| own == resource_type)
    }
}

impl fmt::Display for ResourceScope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}.", self.context.as_str(), self.resource_type.as_deref().unwrap_or("*"))?;
        match self.permissions.version1().filter(|_| self.version1 && self.constraints.is_empty()) {
            Some(word) => formatter.write_str(word)?,
            None => write!(formatter, "{}", self.permissions)?,
        }
        for (index, constraint) in self.constraints.iter().enumerate() {
            let separator = if index == 0 { '?' } else { '&' };
            write!(formatter, "{separator}{}={}", constraint.name, constraint.value)?;
        }
        Ok(())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(scope) => write!(formatter, "{scope}"),
            Self::PrivateApi => formatter.write_str("private-api"),
            Self::Word(word) => formatter.write_str(word.as_str()),
        }
    }
}

#[cfg(test)]
mod tests;
