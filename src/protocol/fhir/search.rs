//! Search parameters, as far as they reach into other types (FHIR R4 §3.1.1).
//!
//! A parameter with a plain name narrows the search and passes. Chains, `_has`, `_include` and `_revinclude` look into
//! resources of other types, or bring them along: each names the permission that it needs, and where the type cannot be
//! told, the permission on all types.

use super::interaction::is_type;
use super::parameters;
use super::permission::Via;
use super::{Denial, Need};
use crate::protocol::{form, media_type};
use crate::values::scope::Permissions;

/// How a query is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Search parameters.
    Search,
    /// Only what forms the answer: `_format`, `_pretty`, `_summary`, `_elements`.
    FormOfAnswer,
    /// An operation's own parameters.
    Operation,
}

/// What a query belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Of<'request> {
    /// How it is to be read.
    pub(super) kind: Kind,
    /// The type that is searched, where it is one.
    pub(super) resource_type: Option<&'request str>,
}

/// Parameters that form the answer and select nothing.
const FORM_OF_ANSWER: [&str; 4] = ["_format", "_pretty", "_summary", "_elements"];

/// Chains of `_has` and `.` longer than this are no honest search.
const MAXIMUM_DEPTH: usize = 6;

/// Whether a query selects anything.
pub(super) fn has_criteria(query: Option<&str>) -> Result<bool, Denial> {
    for pair in form::pairs(query.unwrap_or_default().as_bytes()) {
        let (name, value) = pair.map_err(|_| Denial::Query)?;
        if !value.is_empty() && !FORM_OF_ANSWER.contains(&name.as_ref()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds what the parameters of one query, header or form need.
pub(super) fn add_needs(text: &str, of: Of<'_>, needs: &mut Vec<Need>) -> Result<(), Denial> {
    add_needs_of_pairs(text, of, needs)?;
    if text.contains(';') {
        // Some servers take a semicolon for a separator too (HTML 4.01 appendix B.2.2 told them to).
        add_needs_of_pairs(&text.replace(';', "&"), of, needs)?;
    }
    Ok(())
}

fn add_needs_of_pairs(text: &str, of: Of<'_>, needs: &mut Vec<Need>) -> Result<(), Denial> {
    for pair in form::pairs(text.as_bytes()) {
        let (name, value) = pair.map_err(|_| Denial::Query)?;
        if name == "_format" && !media_type::format_is_json(&value) {
            return Err(Denial::Format);
        }
        match of.kind {
            Kind::Search => add_needs_of(&name, &value, of.resource_type, needs)?,
            Kind::FormOfAnswer if FORM_OF_ANSWER.contains(&name.as_ref()) => {}
            Kind::FormOfAnswer => return Err(refused(&name, "is not used with this interaction")),
            Kind::Operation if name == "_method" => return Err(refused(&name, "changes the method")),
            Kind::Operation => {}
        }
    }
    Ok(())
}

fn refused(name: &str, why: &'static str) -> Denial {
    Denial::Parameter { name: name.chars().take(128).collect(), why }
}

fn add_needs_of(name: &str, value: &str, on: Option<&str>, needs: &mut Vec<Need>) -> Result<(), Denial> {
    let (base, modifier) = name.split_once(':').map_or((name, None), |(base, modifier)| (base, Some(modifier)));
    match base {
        "_include" | "_revinclude" => {
            if !matches!(modifier, None | Some("iterate" | "recurse" | "logical")) {
                return Err(refused(name, "has a modifier that is not understood"));
            }
            add_needs_of_include(name, base == "_include", value, needs)
        }
        "_filter" | "_query" => Err(refused(name, "holds an expression that the gateway does not look into")),
        "_method" => Err(refused(name, "changes the method")),
        "_list" => {
            needs.push(Need::of_parameter(Via::Chain, Some("List"), Permissions::READ));
            Ok(())
        }
        "_sort" if value.contains('.') => Err(refused(name, "sorts by another resource")),
        _ => add_needs_of_path(name, name, on, 0, needs),
    }
}

/// A parameter's path: `name`, `name:modifier`, chains `name[:Type].rest`, and `_has:Type:reference:rest`. `on` is the
/// type that is searched; `None`: it cannot be told.
fn add_needs_of_path(
    whole: &str,
    path: &str,
    on: Option<&str>,
    depth: usize,
    needs: &mut Vec<Need>,
) -> Result<(), Denial> {
    if depth > MAXIMUM_DEPTH {
        return Err(refused(whole, "is nested too deeply"));
    }
    if let Some(has) = path.strip_prefix("_has:") {
        let mut parts = has.splitn(3, ':');
        let (Some(name), Some(reference), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(refused(whole, "is not _has:Type:reference:parameter"));
        };
        if !is_type(name) || !is_name(reference) {
            return Err(refused(whole, "is not _has:Type:reference:parameter"));
        }
        needs.push(Need::of_parameter(Via::Chain, Some(name), Permissions::SEARCH));
        return add_needs_of_path(whole, rest, Some(name), depth + 1, needs);
    }
    let Some((link, rest)) = path.split_once('.') else {
        let (name, modifier) = path.split_once(':').map_or((path, None), |(name, modifier)| (name, Some(modifier)));
        let is_plain = is_name(name) && name != "_has" && modifier.is_none_or(is_modifier);
        return if is_plain { Ok(()) } else { Err(refused(whole, "is not understood")) };
    };
    let (reference, target) = match link.split_once(':') {
        Some((reference, name)) if is_type(name) => (reference, Some(name)),
        Some(_) => return Err(refused(whole, "is not understood")),
        None => (link, None),
    };
    if !is_name(reference) {
        return Err(refused(whole, "is not understood"));
    }
    let next = add_needs_of_targets(Via::Chain, (on, reference, target), Permissions::SEARCH, needs);
    add_needs_of_path(whole, rest, next, depth + 1, needs)
}

/// What to follow a reference needs: the permission on the type that is named, else on each type that references of
/// this name lead to, else on all. Returns the type, where it is one.
fn add_needs_of_targets<'text>(
    via: Via,
    (on, reference, named): (Option<&str>, &str, Option<&'text str>),
    permission: Permissions,
    needs: &mut Vec<Need>,
) -> Option<&'text str> {
    if named.is_some() {
        needs.push(Need::of_parameter(via, named, permission));
        return named;
    }
    let known: Option<Vec<&'static str>> =
        on.and_then(|on| parameters::find(on, reference)?.targets().map(Iterator::collect));
    match known.as_deref() {
        Some(targets) => {
            needs.extend(targets.iter().map(|target| Need::of_parameter(via, Some(target), permission)));
            if let [target] = targets { Some(target) } else { None }
        }
        None => {
            needs.push(Need::of_parameter(via, None, permission));
            None
        }
    }
}

/// `Source:reference[:Target]`, `Source:*`, `*`. To include is to read what a reference leads to; to include in reverse is
/// to search the source.
fn add_needs_of_include(name: &str, forward: bool, value: &str, needs: &mut Vec<Need>) -> Result<(), Denial> {
    if value == "*" {
        let permission = if forward { Permissions::READ } else { Permissions::SEARCH };
        needs.push(Need::of_parameter(Via::Include, None, permission));
        return Ok(());
    }
    let mut parts = value.splitn(3, ':');
    let (Some(source), Some(reference)) = (parts.next(), parts.next()) else {
        return Err(refused(name, "is not Type:reference or Type:reference:Type"));
    };
    let target = parts.next();
    if !is_type(source) || !(is_name(reference) || reference == "*") || !target.is_none_or(is_type) {
        return Err(refused(name, "is not Type:reference or Type:reference:Type"));
    }
    needs.push(Need::of_parameter(Via::Include, Some(source), Permissions::SEARCH));
    if forward {
        add_needs_of_targets(Via::Include, (Some(source), reference, target), Permissions::READ, needs);
    }
    Ok(())
}

/// A parameter's name: letters, digits, hyphen, underscore (FHIR R4 §3.1.1; vendors' own names too).
fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn is_modifier(modifier: &str) -> bool {
    !modifier.is_empty() && modifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The types that a search of the whole system names in `_type`; empty: all.
pub(super) fn types_of_system_search(text: &str) -> Result<Vec<String>, Denial> {
    let mut types: Vec<String> = Vec::new();
    for pair in form::pairs(text.as_bytes()) {
        let (name, value) = pair.map_err(|_| Denial::Query)?;
        if name != "_type" {
            continue;
        }
        for name in value.split(',') {
            if !is_type(name) {
                return Err(refused("_type", "names something that is no resource type"));
            }
            types.push(name.to_owned());
        }
    }
    Ok(types)
}
