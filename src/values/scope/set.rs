//! Sets of scopes, and what is left when ceilings meet.

use std::fmt;

use super::{Context, ResourceScope, Scope, ScopeError};

/// A set of scopes: sorted, and none in it is covered by the others. Most hold a handful, and a snapshot holds thousands
/// of them: a list takes no more room than its scopes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeSet(Vec<Scope>);

impl ScopeSet {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses words that are separated by single spaces or more (RFC 6749 §3.3).
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        text.split(' ').filter(|word| !word.is_empty()).map(str::parse).collect()
    }

    /// The scopes, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// The scopes on FHIR resources, sorted.
    pub fn resources(&self) -> impl Iterator<Item = &ResourceScope> {
        self.0.iter().filter_map(|scope| match scope {
            Scope::Resource(scope) => Some(scope),
            Scope::PrivateApi | Scope::Word(_) => None,
        })
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the set permits all that this scope does; each permission may come from another scope of the set.
    pub fn covers(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Resource(wanted) => wanted.permissions.each().all(|permission| {
                self.resources().any(|own| own.permissions.contains(permission) && own.reaches(wanted))
            }),
            Scope::PrivateApi | Scope::Word(_) => self.holds(scope),
        }
    }

    /// What both permit. The notation (version 1 or 2) is that of `self`, the side that asks.
    #[must_use]
    pub fn intersect(&self, ceiling: &Self) -> Self {
        let mut result = Self::new();
        for scope in &self.0 {
            match scope {
                Scope::Resource(wanted) => {
                    for met in ceiling.resources().filter_map(|offered| wanted.intersect(offered)) {
                        result.insert(Scope::Resource(met));
                    }
                }
                Scope::PrivateApi | Scope::Word(_) if ceiling.holds(scope) => result.insert(scope.clone()),
                Scope::PrivateApi | Scope::Word(_) => {}
            }
        }
        result
    }

    /// The scopes of `self` that `ceiling` does not wholly permit.
    pub fn not_covered_by<'set>(&'set self, ceiling: &'set Self) -> impl Iterator<Item = &'set Scope> {
        self.0.iter().filter(|scope| !ceiling.covers(scope))
    }

    /// The scopes that a client without a user may hold: `system/` and `private-api` (SMART Backend Services).
    #[must_use]
    pub fn without_user(&self) -> Self {
        Self(
            self.0
                .iter()
                .filter(|scope| match scope {
                    Scope::Resource(scope) => scope.context == Context::System,
                    Scope::PrivateApi => true,
                    Scope::Word(_) => false,
                })
                .cloned()
                .collect(),
        )
    }

    /// Adds a scope: one that is covered is left out, those that it covers go, and permissions on the same type with
    /// the same constraints join. (One that several others cover together may stay, if it came before them: looking for
    /// those would cost more, on every request, than it saves.)
    pub fn insert(&mut self, scope: Scope) {
        let Scope::Resource(mut added) = scope else {
            self.put(scope);
            return;
        };
        let twin = self.resources().find(|own| own.has_same_target(&added)).cloned();
        if let Some(twin) = twin {
            added.permissions = added.permissions.union(twin.permissions);
            added.version1 = added.version1 && twin.version1;
            let twin = Scope::Resource(twin);
            self.0.retain(|own| *own != twin);
        }
        self.0.retain(|own| !matches!(own, Scope::Resource(own) if added.covers(own)));
        let added = Scope::Resource(added);
        if !self.covers(&added) {
            self.put(added);
        }
    }

    fn holds(&self, scope: &Scope) -> bool {
        self.0.binary_search(scope).is_ok()
    }

    fn put(&mut self, scope: Scope) {
        if let Err(place) = self.0.binary_search(&scope) {
            self.0.insert(place, scope);
        }
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<Scopes: IntoIterator<Item = Scope>>(scopes: Scopes) -> Self {
        let mut set = Self::new();
        for scope in scopes {
            set.insert(scope);
        }
        set.0.shrink_to_fit();
        set
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str(" ")?;
            }
            write!(formatter, "{scope}")?;
        }
        Ok(())
    }
}
