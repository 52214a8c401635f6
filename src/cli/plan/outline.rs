//! A difference in sentences, in the order in which a reviewer wants to read them; how they look is decided elsewhere.

use serde_json::Value;

use crate::snapshot::difference::{
    AccessChange, Change, DeadTokens, Difference, Effect, FaultChange, FieldChange, KeyToMake, MovedUrl, ObjectChange,
    Step, WhoKnows,
};

/// A part of the plan.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) items: Vec<Item>,
    /// What is only looked up, and may be folded away.
    pub(super) folded: bool,
}

/// One thing that changes.
pub(super) struct Item {
    pub(super) sign: Sign,
    pub(super) sentence: String,
    pub(super) details: Vec<(Option<Sign>, String)>,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    More,
    Less,
    Other,
    Attention,
    ToDo,
}

/// The sections that have something to say.
pub(super) fn sections(difference: &Difference) -> Vec<Section> {
    fn section<Own>(title: &'static str, all: &[Own], item: impl Fn(&Own) -> Item) -> Section {
        Section { title, items: all.iter().map(item).collect(), folded: false }
    }
    let all = [
        section("Faults", &difference.faults, fault),
        section("Access", &difference.access, access),
        section("To be done at an EHR, by a person", &difference.steps, step),
        section("URLs that move", &difference.urls, url),
        section("Tokens that die", &difference.tokens, tokens),
        section("Keys to be made", &difference.keys, key),
        Section { folded: true, ..section("Objects", &difference.objects, object) },
    ];
    all.into_iter().filter(|section| !section.items.is_empty()).collect()
}

/// The whole in one line.
pub(super) fn summary(difference: &Difference) -> String {
    if difference.is_empty() {
        return "Nothing changes.".to_owned();
    }
    let of = |effects: &[Effect]| difference.access.iter().filter(|own| effects.contains(&own.effect)).count();
    let faults = |change| difference.faults.iter().filter(|own| own.change == change && !own.warning).count();
    let counts = [
        (faults(Change::Added), "new error", "new errors"),
        (faults(Change::Removed), "error mended", "errors mended"),
        (of(&[Effect::Gains]), "app gains access", "gain access"),
        (of(&[Effect::Loses]), "app loses access", "lose access"),
        (
            of(&[Effect::Widened, Effect::Narrowed, Effect::Changed, Effect::Rescheduled]),
            "access changes",
            "accesses change",
        ),
        (difference.steps.len(), "step at an EHR", "steps at EHRs"),
        (difference.urls.len(), "URL moves", "URLs move"),
        (difference.tokens.len(), "activation's tokens die", "activations' tokens die"),
        (difference.keys.len(), "key to be made", "keys to be made"),
        (difference.objects.len(), "object differs", "objects differ"),
    ];
    let told = counts.iter().filter(|(count, ..)| *count > 0);
    let told: Vec<String> =
        told.map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many })).collect();
    format!("{}.", told.join(", "))
}

fn item(sign: Sign, sentence: String) -> Item {
    Item { sign, sentence, details: Vec::new() }
}

fn access(own: &AccessChange) -> Item {
    let AccessChange { namespace, app, gateway, activation, .. } = own;
    let (sign, verb) = match own.effect {
        Effect::Gains => (Sign::More, "gains access to"),
        Effect::Loses => (Sign::Less, "loses all access to"),
        Effect::Widened => (Sign::More, "may do more at"),
        Effect::Narrowed => (Sign::Less, "may do less at"),
        Effect::Changed => (Sign::Other, "may do other things at"),
        Effect::Rescheduled => (Sign::Other, "has access at other times to"),
    };
    let because = own.because.as_ref().map(|because| format!(": {because}")).unwrap_or_default();
    let gained = own.gained.iter().map(|what| (Some(Sign::More), what.clone()));
    let lost = own.lost.iter().map(|what| (Some(Sign::Less), what.clone()));
    let was = |from: &Option<String>| from.as_ref().map(|from| format!(" (was: {from})")).unwrap_or_default();
    let window = own.window.iter().map(|own| (Some(Sign::Other), format!("{}{}", own.to, was(&own.from))));
    Item {
        sign,
        sentence: format!(
            "App {namespace}/{app} {verb} Gateway {namespace}/{gateway} (Activation {activation}){because}"
        ),
        details: gained.chain(lost).chain(window).collect(),
    }
}

fn key(own: &KeyToMake) -> Item {
    let KeyToMake { namespace, pair, revision, kind, app, .. } = own;
    let why = if own.rotation { "rotation" } else { "new pair" };
    let details =
        vec![(None, format!("JWKS URL {}", own.jwks_url)), (None, format!("signs for {}", own.activations.join(", ")))];
    let sentence = format!("{namespace}/{pair}, revision {revision} ({why}): {kind}, for App {app}");
    Item { sign: Sign::More, sentence, details }
}

fn tokens(own: &DeadTokens) -> Item {
    let DeadTokens { namespace, app, gateway, because, .. } = own;
    let how_long = if own.for_good { "for good" } else { "until that is undone" };
    item(
        Sign::Less,
        format!("Tokens of App {namespace}/{app} at Gateway {namespace}/{gateway} are refused {how_long}: {because}"),
    )
}

fn url(own: &MovedUrl) -> Item {
    let known_to = match own.known_to {
        WhoKnows::Ehr if own.ehr.is_empty() => "the EHR's people know it".to_owned(),
        WhoKnows::Ehr => format!("the people of {} know it", own.ehr),
        WhoKnows::Apps => "every app there knows it".to_owned(),
    };
    let to = own.to.clone().unwrap_or_else(|| "nothing: it is not served any more".to_owned());
    Item {
        sign: Sign::Attention,
        sentence: format!("{} of {}; {known_to}", own.url.title(), own.object),
        details: vec![(Some(Sign::Less), own.from.clone()), (Some(Sign::More), to)],
    }
}

fn step(own: &Step) -> Item {
    let ehr = if own.ehr.is_empty() { "the EHR" } else { &own.ehr };
    item(Sign::ToDo, format!("{ehr}, Activation {}/{}: {}", own.namespace, own.activation, own.what))
}

fn fault(own: &FaultChange) -> Item {
    let severity = if own.warning { "warning" } else { "error" };
    let (sign, verb) = match own.change {
        Change::Added | Change::Changed => (Sign::Attention, "new"),
        Change::Removed => (Sign::Less, "mended"),
    };
    let about = own.object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
    item(sign, format!("{verb} {severity} {} {}: {about}{}", own.code.number(), own.code.reason(), own.message))
}

fn object(own: &ObjectChange) -> Item {
    let sign = match own.change {
        Change::Added => Sign::More,
        Change::Removed => Sign::Less,
        Change::Changed => Sign::Other,
    };
    Item { sign, sentence: own.object.to_string(), details: own.fields.iter().map(field).collect() }
}

fn field(own: &FieldChange) -> (Option<Sign>, String) {
    let text = |value: &Value| match value {
        Value::Null => "nothing".to_owned(),
        value => value.to_string(),
    };
    (None, format!("{}: {} → {}", own.field, text(&own.from), text(&own.to)))
}
