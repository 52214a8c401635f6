//! Findings that somebody has looked at and wants to hear no more of, in the place where they arise.
//!
//! - a comment on the line, or right above it: `# hearthgate: ignore HG2003 -- made by External Secrets`
//! - an annotation on the object: `hearthgate.dev/ignore: HG8001,HG8003`
//!
//! `check` is silenced, not the running system: there, a missing Secret stays a missing Secret.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::{Problem, Severity};
use crate::api::common::IGNORE_ANNOTATION;
use crate::snapshot::resources::Location;
use crate::snapshot::{ObjectReference, Report};
use crate::source::loaded::Loaded;
use crate::values::code::Code;

const COMMENT: &str = "# hearthgate:";

/// Why a problem is not told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Suppressed {
    /// Where that is said.
    pub(super) at: Option<Location>,
    /// What for, if that is said.
    pub(super) reason: Option<String>,
}

/// One comment or annotation.
struct Suppression {
    codes: Vec<Code>,
    /// Words that are no codes.
    unknown: Vec<String>,
    reason: Option<String>,
    at: Option<Location>,
    /// Codes that met a problem.
    used: Vec<Code>,
}

/// By file and line that they speak of, and by object.
#[derive(Default)]
pub(super) struct Suppressions {
    comments: BTreeMap<(String, usize), Vec<Suppression>>,
    annotations: BTreeMap<ObjectReference, Suppression>,
}

impl Suppressions {
    pub(super) fn of(loaded: &Loaded) -> Self {
        let mut all = Self::default();
        for file in loaded.files() {
            if let Some(text) = loaded.text_of(file).filter(|text| text.contains(COMMENT)) {
                all.read_comments(file, text);
            }
        }
        for (object, content) in &loaded.objects {
            if let Some(words) = content.annotation(IGNORE_ANNOTATION) {
                let at = loaded.locate(object, &format!("metadata.annotations.{IGNORE_ANNOTATION}"));
                all.annotations.insert(object.clone(), Suppression::parse(words, at));
            }
        }
        all
    }

    fn read_comments(&mut self, file: &str, text: &str) {
        let mut waiting: Vec<Suppression> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let is_comment = line.trim_start().starts_with('#');
            if let Some((before, after)) = line.split_once(COMMENT) {
                let column = before.chars().count() + 1;
                let at = Location { file: file.to_owned(), line: number, column };
                let ignored =
                    after.trim_start().strip_prefix("ignore").map(|words| Suppression::parse(words, Some(at)));
                waiting.extend(ignored);
            }
            if !is_comment && !waiting.is_empty() {
                self.comments.insert((file.to_owned(), number), std::mem::take(&mut waiting));
            }
        }
        if !waiting.is_empty() {
            // Nothing follows them: they will be told as unused.
            self.comments.insert((file.to_owned(), 0), waiting);
        }
    }

    /// Marks the problems that are not to be told.
    pub(super) fn apply(&mut self, problems: &mut [Problem]) {
        for problem in problems {
            let place = problem.location.as_ref().map(|location| (location.file.clone(), location.line));
            let by_comment = place.and_then(|place| self.comments.get_mut(&place)).into_iter().flatten();
            let by_annotation = problem.object.as_ref().and_then(|object| self.annotations.get_mut(object));
            let meant = by_comment.chain(by_annotation).find(|own| own.codes.contains(&problem.code));
            problem.suppressed = meant.map(|own| {
                own.used.push(problem.code);
                Suppressed { at: own.at.clone(), reason: own.reason.clone() }
            });
        }
    }

    /// A warning for each code that met nothing: it would hide the next one.
    pub(super) fn unused(self) -> Vec<Problem> {
        let comments = self.comments.into_values().flatten().map(|own| (None, own));
        let annotations = self.annotations.into_iter().map(|(object, own)| (Some(object), own));
        comments.chain(annotations).flat_map(|(object, own)| own.idle(object.as_ref())).collect()
    }
}

/// Where all that is wrong with an object is silenced, nobody wants to hear that others hang on it.
pub(super) fn spread(problems: &mut [Problem], reports: &[Report]) {
    let is_told = |problem: &Problem| problem.severity == Severity::Error && problem.suppressed.is_none();
    let references = |problem: &Problem| {
        let place = reports.binary_search_by(|report| Some(&report.object).cmp(&problem.object.as_ref())).ok()?;
        reports.get(place).map(|report| &report.references)
    };
    // A pass for each link of a chain, from adapters to activations.
    loop {
        let told = problems.iter().filter(|problem| is_told(problem));
        let told: BTreeSet<ObjectReference> = told.filter_map(|problem| problem.object.clone()).collect();
        let mut changed = false;
        for problem in problems.iter_mut().filter(|own| own.code == Code::RefNotAccepted && is_told(own)) {
            if references(problem).is_some_and(|all| !all.iter().any(|reference| told.contains(reference))) {
                let reason = Some("what it hangs on is silenced".to_owned());
                problem.suppressed = Some(Suppressed { at: None, reason });
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}

impl Suppression {
    /// `HG2003 HG8001 -- a reason`; commas are fine too.
    fn parse(text: &str, at: Option<Location>) -> Self {
        let (words, reason) = match text.split_once("--") {
            Some((words, reason)) => (words, Some(reason.trim().to_owned()).filter(|reason| !reason.is_empty())),
            None => (text, None),
        };
        let words = words.split([' ', ',', '\t']).filter(|word| !word.is_empty());
        let (mut codes, mut unknown) = (Vec::new(), Vec::new());
        for word in words {
            match word.parse() {
                Ok(code) => codes.push(code),
                Err(_) => unknown.push(word.to_owned()),
            }
        }
        Self { codes, unknown, reason, at, used: Vec::new() }
    }

    fn idle(&self, object: Option<&ObjectReference>) -> Vec<Problem> {
        let idle = self.codes.iter().filter(|code| !self.used.contains(code));
        let idle = idle.map(|code| format!("{} is ignored here, but nothing here has it: remove it", code.number()));
        let unknown = self
            .unknown
            .iter()
            .map(|word| format!("{word:?} is no code: write, for example, # hearthgate: ignore HG2003 -- the reason"));
        let empty = (self.codes.is_empty() && self.unknown.is_empty())
            .then(|| "no code is named: write, for example, # hearthgate: ignore HG2003 -- the reason".to_owned());
        idle.chain(unknown)
            .chain(empty)
            .map(|message| Problem {
                location: self.at.clone(),
                severity: Severity::Warning,
                code: Code::SuppressionUnused,
                object: object.cloned(),
                message,
                suppressed: None,
            })
            .collect()
    }
}
