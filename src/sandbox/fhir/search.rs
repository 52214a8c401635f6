//! Search in one type: criteria, order, included resources, pages.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::FhirServer;
use super::call::{Answer, Call};
use super::outcome::{Refusal, outcome};
use super::paging::{Page, Session};
use super::parameters::{self, Criterion, Parameter, Sort};
use super::permit::Permit;
use super::store::{Store, TYPES};

const ORDINARY_COUNT: usize = 20;
const LARGEST_COUNT: usize = 100;
const MOST_PARAMETERS: usize = 200;

/// What to put beside the matches.
#[derive(Debug, Clone, Copy)]
pub(super) enum Include {
    /// What the matches refer to.
    Forward(&'static Parameter),
    /// What of this type refers to the matches.
    Reverse(&'static Parameter, &'static str),
}

/// A search, understood.
#[derive(Debug, Default)]
struct Search {
    criteria: Vec<Criterion>,
    includes: Vec<Include>,
    /// Parameter, and whether downwards.
    order: Vec<(&'static Parameter, bool)>,
    count: Option<usize>,
    total_only: bool,
    /// Parameters that this EHR does not know: ignored, and told.
    ignored: Vec<String>,
}

impl Search {
    fn parse(kind: &'static str, base: &str, given: &[(String, String)]) -> Result<Search, Refusal> {
        if given.len() > MOST_PARAMETERS {
            return Err(Refusal::invalid("more than 200 parameters"));
        }
        let mut search = Search::default();
        for (name, value) in given {
            match name.as_str() {
                _ if value.is_empty() => {}
                "_format" | "_pretty" | "_total" => {}
                "_count" => {
                    let count: usize =
                        value.parse().map_err(|_| Refusal::invalid(format!("_count is {value:?}, not a number")))?;
                    search.count = Some(count.min(LARGEST_COUNT));
                    search.total_only |= count == 0;
                }
                "_summary" if value == "count" => search.total_only = true,
                "_include" => search.includes.push(forward(kind, value)?),
                "_revinclude" => search.includes.push(reverse(value)?),
                "_sort" => search.order = order(kind, value)?,
                _ => match Criterion::parse(kind, base, name, value)? {
                    Some(criterion) => search.criteria.push(criterion),
                    None => search.ignored.push(name.clone()),
                },
            }
        }
        Ok(search)
    }

    fn run(&self, store: &Store, base: &str, kind: &'static str) -> Vec<Arc<Value>> {
        let mut found = store.all(kind);
        found.retain(|resource| self.criteria.iter().all(|criterion| criterion.is_met(base, resource)));
        for (parameter, downwards) in self.order.iter().rev() {
            found.sort_by(|one, other| {
                let ascending = parameter.sort_key(one).cmp(&parameter.sort_key(other));
                if *downwards { ascending.reverse() } else { ascending }
            });
        }
        found
    }
}

/// All resources that meet the criteria; for conditional creates, where an unknown parameter must not be ignored.
pub(super) fn matches(
    store: &Store,
    base: &str,
    kind: &'static str,
    given: &[(String, String)],
) -> Result<Vec<Arc<Value>>, Refusal> {
    let search = Search::parse(kind, base, given)?;
    match search.ignored.first() {
        Some(name) => Err(Refusal::invalid(format!("{kind} has no search parameter {name}"))),
        None => Ok(search.run(store, base, kind)),
    }
}

impl FhirServer {
    /// A search, or the next page of one.
    pub(super) fn search(&self, store: &Store, kind: &'static str, call: &Call) -> Result<Answer, Refusal> {
        if let Some(page) = self.continued(kind, call)? {
            return Ok(Answer::ok(self.searchset(store, &page, &[], call)));
        }
        let search = Search::parse(kind, &self.base, &call.parameters)?;
        if let Some(name) = search.ignored.first()
            && call.prefer.contains("handling=strict")
        {
            return Err(Refusal::invalid(format!("{kind} has no search parameter {name}")));
        }
        let permit = Permit::of(call, &self.base, kind, 's')?;
        let mut matches = search.run(store, &self.base, kind);
        matches.retain(|resource| permit.admits(store, &self.base, resource));
        let query: String =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&call.parameters).finish();
        let question_mark = if query.is_empty() { "" } else { "?" };
        let own_url = format!("{}/{kind}{question_mark}{query}", self.base);
        if search.total_only {
            return Ok(Answer::ok(json!({
                "resourceType": "Bundle",
                "type": "searchset",
                "total": matches.len(),
                "link": [{ "relation": "self", "url": own_url }],
            })));
        }
        let session = Session {
            kind,
            client_id: call.client_id.clone(),
            family: call.session.as_ref().map(|session| session.family),
            matches,
            includes: search.includes,
            count: search.count.unwrap_or(ORDINARY_COUNT),
        };
        let page = self.first_page(session, own_url)?;
        Ok(Answer::ok(self.searchset(store, &page, &search.ignored, call)))
    }

    fn searchset(&self, store: &Store, page: &Page, ignored: &[String], call: &Call) -> Value {
        let mut entries: Vec<Value> = page.matches.iter().map(|resource| self.entry(resource, "match")).collect();
        let mut listed: BTreeSet<String> = page.matches.iter().filter_map(|resource| name_of(resource)).collect();
        for resource in self.included(store, page) {
            if !self.may_see(store, &resource, call) {
                continue;
            }
            if name_of(&resource).is_some_and(|name| listed.insert(name)) {
                entries.push(self.entry(&resource, "include"));
            }
        }
        if !ignored.is_empty() {
            let text = format!("parameters that are not known here were ignored: {}", ignored.join(", "));
            let warning = outcome("warning", "not-supported", &text);
            entries.push(json!({ "resource": warning, "search": { "mode": "outcome" } }));
        }
        let links: Vec<Value> =
            page.links.iter().map(|(relation, url)| json!({ "relation": relation, "url": url })).collect();
        json!({
            "resourceType": "Bundle",
            "type": "searchset",
            "total": page.total,
            "link": links,
            "entry": entries,
        })
    }

    /// What comes along with the matches needs its own permission.
    fn may_see(&self, store: &Store, resource: &Value, call: &Call) -> bool {
        let kind = resource.get("resourceType").and_then(Value::as_str).unwrap_or_default();
        let Some(kind) = TYPES.iter().find(|known| **known == kind) else { return false };
        ['r', 's'].into_iter().any(|letter| {
            Permit::of(call, &self.base, kind, letter).is_ok_and(|permit| permit.admits(store, &self.base, resource))
        })
    }

    fn entry(&self, resource: &Value, mode: &str) -> Value {
        json!({
            "fullUrl": format!("{}/{}", self.base, name_of(resource).unwrap_or_default()),
            "resource": resource,
            "search": { "mode": mode },
        })
    }

    fn included(&self, store: &Store, page: &Page) -> Vec<Arc<Value>> {
        let mut found = Vec::new();
        for include in &page.includes {
            match include {
                Include::Forward(parameter) => {
                    let references =
                        page.matches.iter().flat_map(|resource| parameter.references(&self.base, resource));
                    found.extend(references.filter_map(|reference| {
                        let (kind, id) = reference.split_once('/')?;
                        let kind = TYPES.iter().find(|known| **known == kind)?;
                        store.current(kind, id).ok().map(|(_, resource)| Arc::clone(resource))
                    }));
                }
                Include::Reverse(parameter, kind) => {
                    let names: BTreeSet<String> =
                        page.matches.iter().filter_map(|resource| name_of(resource)).collect();
                    found.extend(store.all(kind).into_iter().filter(|resource| {
                        parameter.references(&self.base, resource).iter().any(|reference| names.contains(*reference))
                    }));
                }
            }
        }
        found
    }
}

fn name_of(resource: &Value) -> Option<String> {
    Some(format!("{}/{}", resource.get("resourceType")?.as_str()?, resource.get("id")?.as_str()?))
}

fn forward(kind: &'static str, value: &str) -> Result<Include, Refusal> {
    match reference_parameter(value)? {
        (parameter, of) if of == kind => Ok(Include::Forward(parameter)),
        _ => Err(Refusal::not_supported(format!("_include={value} does not begin at {kind}"))),
    }
}

fn reverse(value: &str) -> Result<Include, Refusal> {
    let (parameter, of) = reference_parameter(value)?;
    Ok(Include::Reverse(parameter, of))
}

/// Reads `Type:parameter`; a third part, the target's type, is not supported.
fn reference_parameter(value: &str) -> Result<(&'static Parameter, &'static str), Refusal> {
    let refused = || Refusal::not_supported(format!("{value:?} is not Type:parameter of a reference parameter"));
    let (kind, name) = value.split_once(':').ok_or_else(refused)?;
    let kind = TYPES.iter().find(|known| **known == kind).ok_or_else(refused)?;
    let parameter = parameters::of(kind)
        .find(|parameter| parameter.name == name && matches!(parameter.sort, Sort::Reference(_)))
        .ok_or_else(refused)?;
    Ok((parameter, kind))
}

fn order(kind: &'static str, value: &str) -> Result<Vec<(&'static Parameter, bool)>, Refusal> {
    value
        .split(',')
        .map(|name| {
            let (name, downwards) = name.strip_prefix('-').map_or((name, false), |name| (name, true));
            parameters::of(kind)
                .find(|parameter| parameter.name == name)
                .map(|parameter| (parameter, downwards))
                .ok_or_else(|| Refusal::not_supported(format!("{kind} cannot be sorted by {name}")))
        })
        .collect()
}
