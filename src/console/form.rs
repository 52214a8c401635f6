//! Forms of several steps: what was answered travels in the address, so nothing is kept here, going back loses nothing,
//! and a half-filled form can be sent to a colleague.

use askama::Template;

use super::frame::Frame;
use super::{Judgement, Problem};
use crate::values::code::Code;

/// What was answered so far.
#[derive(Clone, Debug, Default)]
pub struct Answers(Vec<(String, String)>);

impl Answers {
    /// Out of the query of an address.
    pub fn parse(query: &str) -> Self {
        let pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned();
        // Browsers send line ends as CRLF.
        Self(pairs.map(|(name, value)| (name, value.replace("\r\n", "\n").trim().to_owned())).collect())
    }

    /// A single answer; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }

    /// The same, where empty is none.
    pub fn given(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// All answers of a name, line by line.
    pub fn list(&self, name: &str) -> Vec<String> {
        let own = self.0.iter().filter(|(own, _)| own == name);
        let lines = own.flat_map(|(_, value)| value.split(['\n', ' ', ',']));
        lines.map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// The step that was answered, from 1, and which way it goes on.
    fn position(&self) -> (usize, Go) {
        let step = self.text("step").parse().unwrap_or(1);
        let go = match self.text("go") {
            "next" => Go::Next,
            "back" => Go::Back,
            _ => Go::Stay,
        };
        (step, go)
    }

    /// As an address has it, without what is about the steps.
    pub fn query(&self) -> String {
        let own = self.0.iter().filter(|(name, value)| !matches!(name.as_str(), "step" | "go") && !value.is_empty());
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(own).finish()
    }

    /// What stands in other steps than the shown one.
    fn hidden(&self, shown: &[Field]) -> Vec<(String, String)> {
        let is_shown = |name: &str| shown.iter().any(|field| field.id == name) || matches!(name, "step" | "go");
        self.0.iter().filter(|(name, value)| !is_shown(name) && !value.is_empty()).cloned().collect()
    }
}

enum Go {
    Stay,
    Next,
    Back,
}

/// One field of a form.
#[derive(Clone, Debug)]
pub struct Field {
    /// The name that it is sent under.
    pub id: &'static str,
    /// Its label.
    pub label: &'static str,
    /// What helps to fill it in.
    pub hint: String,
    /// How it is filled in.
    pub input: Input,
    /// Shown only while this choice is made, such as `proof-jwksUri`.
    pub when: &'static str,
    /// What is wrong with it.
    pub problems: Vec<String>,
    /// The fields of the object that it stands for, such as `spec.launchUri`.
    pub about: &'static [&'static str],
}

/// How a field is filled in.
#[derive(Clone, Debug)]
pub enum Input {
    /// One line.
    Text {
        /// What stands in it.
        value: String,
        /// What is offered.
        offered: Vec<String>,
        /// Whether it must be filled in.
        is_required: bool,
    },
    /// Several lines.
    Area {
        /// What stands in it.
        value: String,
    },
    /// One of several.
    Choice {
        /// What can be chosen.
        options: Vec<Choosable>,
    },
    /// Any of several.
    Checks {
        /// What can be chosen.
        options: Vec<Choosable>,
    },
}

/// What can be chosen.
#[derive(Clone, Debug)]
pub struct Choosable {
    /// Its value.
    pub value: String,
    /// Its label.
    pub label: String,
    /// What it means.
    pub hint: &'static str,
    /// Whether it is chosen.
    pub is_chosen: bool,
}

impl Field {
    fn new(id: &'static str, label: &'static str, hint: impl Into<String>, input: Input) -> Self {
        Self { id, label, hint: hint.into(), input, when: "", problems: Vec::new(), about: &[] }
    }

    /// One line.
    pub fn text(answers: &Answers, id: &'static str, label: &'static str, hint: impl Into<String>) -> Self {
        let value = answers.text(id).to_owned();
        Self::new(id, label, hint, Input::Text { value, offered: Vec::new(), is_required: false })
    }

    /// Several lines.
    pub fn area(answers: &Answers, id: &'static str, label: &'static str, hint: impl Into<String>) -> Self {
        Self::new(id, label, hint, Input::Area { value: answers.text(id).to_owned() })
    }

    /// One of several; the first, if none was chosen.
    pub fn choice(
        answers: &Answers,
        id: &'static str,
        label: &'static str,
        options: &[(&str, &str, &'static str)],
    ) -> Self {
        let chosen = options.iter().map(|(value, ..)| *value).find(|value| *value == answers.text(id));
        let chosen = chosen.or_else(|| options.first().map(|(value, ..)| *value));
        let options = options.iter().map(|(value, label, hint)| Choosable {
            value: (*value).to_owned(),
            label: (*label).to_owned(),
            hint,
            is_chosen: chosen == Some(value),
        });
        Self::new(id, label, "", Input::Choice { options: options.collect() })
    }

    /// Any of several.
    pub fn checks(answers: &Answers, id: &'static str, label: &'static str, offered: &[&str]) -> Self {
        let chosen = answers.list(id);
        let options = offered.iter().map(|value| Choosable {
            value: (*value).to_owned(),
            label: (*value).to_owned(),
            hint: "",
            is_chosen: chosen.iter().any(|chosen| chosen == value),
        });
        Self::new(id, label, "", Input::Checks { options: options.collect() })
    }

    /// With names to choose from; others may be typed.
    #[must_use]
    pub fn offering(mut self, names: Vec<String>) -> Self {
        if let Input::Text { offered, .. } = &mut self.input {
            *offered = names;
        }
        self
    }

    /// Must be filled in.
    #[must_use]
    pub fn required(mut self) -> Self {
        if let Input::Text { is_required, .. } = &mut self.input {
            *is_required = true;
        }
        self
    }

    /// Shown only while a choice is made.
    #[must_use]
    pub fn when(self, when: &'static str) -> Self {
        Self { when, ..self }
    }

    /// The fields of the object that it stands for.
    #[must_use]
    pub fn about(self, about: &'static [&'static str]) -> Self {
        Self { about, ..self }
    }

    fn is_about(&self, path: &str) -> bool {
        self.about
            .iter()
            .any(|about| path.strip_prefix(about).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])))
    }
}

/// A form of several steps, the last of which is the review.
pub struct Steps {
    /// The titles of the steps, without the review.
    pub titles: &'static [&'static str],
    /// What was answered.
    pub answers: Answers,
}

/// Which step is shown, and with which fields.
pub struct Shown {
    /// From 1; one more than there are steps: the review.
    pub step: usize,
    /// Its fields, with what is wrong with them.
    pub fields: Vec<Field>,
    /// On the review: everything that was found out about the draft.
    pub judgement: Judgement,
}

impl Steps {
    /// Decides which step is shown. `fields`: those of a step; `judge`: what is to be said of a draft of the first so
    /// many steps. It is asked at most once, since with thousands of objects it takes a while.
    pub fn show(&self, fields: impl Fn(usize) -> Vec<Field>, judge: impl Fn(usize) -> Judgement) -> Shown {
        let (answered, go) = self.answers.position();
        let review = self.titles.len() + 1;
        let answered = answered.clamp(1, review);
        let wanted = match go {
            Go::Stay => answered,
            Go::Back => answered.saturating_sub(1).max(1),
            Go::Next => (answered + 1).min(review),
        };
        let judgement = match wanted {
            1 => Judgement::default(),
            wanted if wanted == review => judge(review),
            wanted => judge(wanted - 1),
        };
        // Whatever lies before the wanted step must be in order; the first step that is not is shown.
        for step in 1..wanted {
            let mut own = fields(step);
            let errors = judgement.problems.iter().filter(|problem| problem.is_error && !is_still_to_come(problem));
            if place(&mut own, errors) > 0 {
                return Shown { step, fields: own, judgement: Judgement::default() };
            }
        }
        if wanted < review {
            return Shown { step: wanted, fields: fields(wanted), judgement: Judgement::default() };
        }
        Shown { step: review, fields: Vec::new(), judgement }
    }

    /// What the other steps hold.
    pub fn hidden(&self, shown: &Shown) -> Vec<(String, String)> {
        self.answers.hidden(&shown.fields)
    }
}

/// Puts each problem to its field, and says how many found one.
fn place<'problem>(fields: &mut [Field], problems: impl Iterator<Item = &'problem Problem>) -> usize {
    let mut placed = 0;
    for problem in problems {
        if let Some(field) = fields.iter_mut().find(|field| field.is_about(&problem.field)) {
            field.problems.push(problem.message.clone());
            placed += 1;
        }
    }
    placed
}

/// What is left to do before the draft can work; not a fault of the draft.
pub fn is_still_to_come(problem: &Problem) -> bool {
    matches!(problem.code, Code::SecretNotFound | Code::RefNotFound | Code::RefNotAccepted)
}

/// The last step: everything at a glance, and the YAML.
pub struct Review {
    /// What was answered, in words.
    pub rows: Vec<(&'static str, String)>,
    /// What must be corrected first.
    pub errors: Vec<Problem>,
    /// What is still to come.
    pub to_come: Vec<Problem>,
    /// What is worth knowing.
    pub warnings: Vec<Problem>,
    /// The YAML.
    pub yaml: String,
    /// Its file's name.
    pub file: String,
    /// Where the file can be had.
    pub download: String,
    /// Lines that commit it.
    pub git: String,
    /// Lines that apply it without git.
    pub kubectl: String,
    /// Lines that make the Secrets that it names.
    pub secrets: Vec<String>,
    /// Where to go on from here.
    pub further: Option<(String, &'static str)>,
}

/// The page of a form.
#[derive(Template)]
#[template(path = "console/form.html")]
pub struct FormPage {
    /// What stands around it.
    pub frame: Frame,
    /// What it is for.
    pub lead: &'static str,
    /// Where it is sent.
    pub action: String,
    /// The titles of its steps.
    pub titles: &'static [&'static str],
    /// The step that is shown.
    pub step: usize,
    /// Its fields.
    pub fields: Vec<Field>,
    /// What other steps hold.
    pub hidden: Vec<(String, String)>,
    /// On the last step.
    pub review: Option<Review>,
}

impl FormPage {
    fn is_wrong(&self) -> bool {
        self.fields.iter().any(|field| !field.problems.is_empty())
    }

    fn step_title(&self) -> &'static str {
        self.titles.get(self.step.saturating_sub(1)).copied().unwrap_or("Review")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TITLES: &[&str] = &["Name", "Address"];

    fn fields(answers: &Answers, step: usize) -> Vec<Field> {
        match step {
            1 => vec![Field::text(answers, "name", "Name", "").about(&["metadata.name"])],
            2 => vec![Field::text(answers, "uri", "URI", "").about(&["spec.launchUri"])],
            _ => Vec::new(),
        }
    }

    fn wrong(field: &str) -> Problem {
        Problem { is_error: true, code: Code::InvalidSpec, field: field.into(), message: "is wrong".into() }
    }

    fn shown(query: &str, problems: &[Problem]) -> (usize, Vec<String>) {
        let steps = Steps { titles: TITLES, answers: Answers::parse(query) };
        let shown = steps.show(
            |step| fields(&steps.answers, step),
            |_| Judgement { problems: problems.to_vec(), reports: Vec::new() },
        );
        (shown.step, shown.fields.into_iter().flat_map(|field| field.problems).collect())
    }

    #[test]
    fn a_step_is_left_only_when_its_own_fields_are_in_order() {
        assert_eq!(shown("", &[wrong("metadata.name")]), (1, vec![]), "nothing is wrong before it was answered");
        let next = "step=1&go=next&name=x";
        assert_eq!(shown(next, &[wrong("metadata.name")]), (1, vec!["is wrong".into()]));
        assert_eq!(shown(next, &[wrong("spec.launchUri")]), (2, vec![]), "a later step's fault waits for it");
        assert_eq!(shown("step=2&go=next&name=x", &[wrong("metadata.name")]).0, 1, "no step is jumped over");
        assert_eq!(shown("step=2&go=next", &[]), (3, vec![]));
        assert_eq!(shown("step=3&go=back", &[]), (2, vec![]));
        assert_eq!(shown("step=99&go=next", &[]), (3, vec![]));
    }

    #[test]
    fn a_field_stands_for_its_own_path_and_what_is_below_it() {
        let field = Field::text(&Answers::default(), "uri", "", "").about(&["spec.scopes"]);
        assert!(field.is_about("spec.scopes") && field.is_about("spec.scopes[1]"));
        assert!(!field.is_about("spec.scopesOfOthers") && !field.is_about("spec"));
    }

    #[test]
    fn lists_are_read_line_by_line_from_all_answers_of_a_name() {
        let answers = Answers::parse("scope=system%2FPatient.rs&scope=a%0D%0Ab%0D%0A&name=+x+");
        assert_eq!(answers.list("scope"), ["system/Patient.rs", "a", "b"]);
        assert_eq!(answers.text("name"), "x");
        assert_eq!(answers.given("other"), None);
    }
}
