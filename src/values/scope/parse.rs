//! Text to scope.

use std::str::FromStr;

use super::{Constraint, Context, Permissions, ResourceScope, Scope, Word};

/// The text is no SMART scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Nothing that we know begins like this.
    #[error(
        "{0:?} is no scope: write (patient|user|system)/(Type|*).cruds, private-api, or a word of SMART App Launch"
    )]
    Unknown(String),
    /// The part between slash and dot is neither `*` nor a resource type.
    #[error("{0:?}: the resource type must be * or a name such as Patient")]
    ResourceType(String),
    /// The part behind the dot is neither version 1 nor a subset of `cruds` in that order.
    #[error("{0:?}: the permissions must be some of c, r, u, d, s in this order, or read, write, *")]
    Permissions(String),
    /// The part behind the question mark is not `name=value&…`.
    #[error("{0:?}: behind the question mark stands name=value, joined by &")]
    Constraint(String),
    /// A granular scope that asks for more than the name of a parameter (SMART calls those experimental).
    #[error("{0:?}: chained parameters, _filter and modifiers are not supported in scopes")]
    ConstraintUnsupported(String),
    /// Longer than any real scope.
    #[error("a scope is longer than 512 characters")]
    TooLong,
}

/// No real scope is longer, and what is longer only costs memory.
const MAXIMUM_LENGTH: usize = 512;

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        if text.len() > MAXIMUM_LENGTH {
            return Err(ScopeError::TooLong);
        }
        if text == "private-api" {
            return Ok(Self::PrivateApi);
        }
        if let Some(word) = Word::ALL.into_iter().find(|word| word.as_str() == text) {
            return Ok(Self::Word(word));
        }
        text.parse().map(Self::Resource)
    }
}

impl FromStr for ResourceScope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let unknown = || ScopeError::Unknown(text.into());
        let (context, rest) = text.split_once('/').ok_or_else(unknown)?;
        let context = match context {
            "patient" => Context::Patient,
            "user" => Context::User,
            "system" => Context::System,
            _ => return Err(unknown()),
        };
        let (access, query) = match rest.split_once('?') {
            Some((access, query)) => (access, Some(query)),
            None => (rest, None),
        };
        let (resource_type, permissions) = access.split_once('.').ok_or_else(unknown)?;
        let resource_type = match resource_type {
            "*" => None,
            name if is_resource_type(name) => Some(name.to_owned()),
            _ => return Err(ScopeError::ResourceType(text.into())),
        };
        let (permissions, version1) =
            parse_permissions(permissions).ok_or_else(|| ScopeError::Permissions(text.into()))?;
        let constraints = query.map_or(Ok(Vec::new()), |query| parse_constraints(text, query))?;
        // Version 1 knows no constraints: what has some is of version 2 whatever its letters.
        let version1 = version1 && constraints.is_empty();
        Ok(Self { context, resource_type, permissions, constraints, version1 })
    }
}

/// Resource types are CamelCase ASCII letters; whether FHIR knows the type is the EHR's to say.
fn is_resource_type(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn parse_permissions(text: &str) -> Option<(Permissions, bool)> {
    match text {
        "read" => return Some((Permissions::VERSION1_READ, true)),
        "write" => return Some((Permissions::VERSION1_WRITE, true)),
        "*" => return Some((Permissions::ALL, true)),
        "" => return None,
        _ => {}
    }
    let mut letters = Permissions::LETTERS.iter();
    let mut permissions = Permissions::NONE;
    for wanted in text.chars() {
        // `find` moves on behind the letter that it finds: a letter out of order or twice is not found any more.
        let (_, permission) = letters.find(|(letter, _)| *letter == wanted)?;
        permissions = permissions.union(*permission);
    }
    Some((permissions, false))
}

fn parse_constraints(scope: &str, query: &str) -> Result<Vec<Constraint>, ScopeError> {
    let mut constraints = query
        .split('&')
        .map(|pair| {
            let (name, value) = pair.split_once('=').ok_or_else(|| ScopeError::Constraint(scope.into()))?;
            if name.is_empty() || value.is_empty() || !is_scope_text(name) || !is_scope_text(value) {
                return Err(ScopeError::Constraint(scope.into()));
            }
            if name.contains(['.', ':'])
                || (name.starts_with('_') && !matches!(name, "_id" | "_tag" | "_security" | "_profile"))
            {
                return Err(ScopeError::ConstraintUnsupported(scope.into()));
            }
            Ok(Constraint { name: name.into(), value: value.into() })
        })
        .collect::<Result<Vec<_>, _>>()?;
    constraints.sort();
    constraints.dedup();
    Ok(constraints)
}

/// Characters that RFC 6749 §3.3 permits in a scope, without those that would end or extend a query.
fn is_scope_text(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, 0x21 | 0x24..=0x25 | 0x27..=0x3c | 0x3e..=0x5b | 0x5d..=0x7e))
}
