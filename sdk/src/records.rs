//! What adapters of tabular formats share: which columns make which record.
//!
//! | columns | record |
//! | --- | --- |
//! | `prompt`, `chosen`, `rejected` | comparison |
//! | `prompt`, `response`, `rating`, maybe `logits` | rating |
//! | `prompt`, `response` | demonstration |
//! | `prompt`, `reference` or `references` and/or `tests` | evaluation |
//!
//! The first line that fits decides, unless the option `kind` does. One record
//! is read only where `kind` is `prediction`, since its columns could be those
//! of another:
//!
//! | columns | record |
//! | --- | --- |
//! | `response`, `prediction`, `completion` or `generation`; maybe `prompt`, `reference` or `references`, `test` or `tests`, `id` or `task_id`, `language` | prediction |
//!
//! Data sets of programming tasks are read as they are, by the columns that
//! give them away; what they call otherwise fills these fields:
//!
//! | columns | as in | tests | prompt | references | id |
//! | --- | --- | --- | --- | --- | --- |
//! | `test` and `entry_point` | HumanEval | `test`, followed by `check(ENTRY_POINT)` | | `canonical_solution` | `task_id` |
//! | `test_list` | MBPP | each of `test_list`, after `test_setup_code` or `test_imports` | `text` | `code` | `task_id` |
//! | `input_output` | APPS | its cases of input and output, see [`tests_of`] | `question` | | `problem_id` |
//!
//! What TRL's trainers take is read as well: a comparison without `prompt`,
//! which is then what both responses begin with; `completion` in the place of
//! `response`; and conversations (`[{"role": …, "content": …}]`) in the place
//! of texts, or whole as `messages`. What a model makes of a conversation, only
//! its chat template says; see [`CONVERSATION`].
//!
//! Columns of other names, or of no use to the record, become
//! [`Row::extra`](crate::Row::extra). The option `columns` says where a field
//! is found if not under its own name: `{"prompt": "question"}`. What it says
//! of columns that a table does not have counts for other tables.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::conversations::{self, Draw};
pub use crate::conversations::{CONVERSATION, conversation, is_conversation};
use crate::data_adapter::{Content, Origin, Row, RowError};
use crate::task_tests::completed;
pub use crate::task_tests::tests_of;
use crate::types::{Error, one_of};

/// What a row is to be read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `prompt`, `chosen`, `rejected`.
    Comparison,
    /// `prompt`, `response`, `rating`, maybe `logits`.
    Rating,
    /// `prompt`, `response`.
    Demonstration,
    /// `prompt`, and `references` or `tests`.
    Evaluation,
    /// `response`, maybe `prompt`, `references`, `tests`, `id`, `language`.
    Prediction,
    /// `text`, as in TRL: a demonstration without a prompt.
    Text,
}

impl Kind {
    /// Those that columns alone can say, in the order in which they are tried.
    const RECOGNISED: [Self; 4] = [
        Self::Comparison,
        Self::Rating,
        Self::Demonstration,
        Self::Evaluation,
    ];

    /// As the option `kind` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Comparison => "comparison",
            Self::Rating => "rating",
            Self::Demonstration => "demonstration",
            Self::Evaluation => "evaluation",
            Self::Prediction => "prediction",
            Self::Text => "text",
        }
    }

    fn required(self) -> &'static [Field] {
        match self {
            Self::Comparison => &[Field::Prompt, Field::Chosen, Field::Rejected],
            Self::Rating => &[Field::Prompt, Field::Response, Field::Rating],
            Self::Demonstration => &[Field::Prompt, Field::Response],
            Self::Evaluation => &[Field::Prompt],
            Self::Prediction | Self::Text => &[Field::Response],
        }
    }

    /// An evaluation needs one of its two; the others can do without.
    fn optional(self) -> &'static [Field] {
        match self {
            Self::Comparison | Self::Text => &[],
            Self::Demonstration => &[Field::Messages],
            Self::Rating => &[Field::Logits],
            Self::Evaluation => &[
                Field::References,
                Field::Tests,
                Field::EntryPoint,
                Field::TestSetup,
            ],
            Self::Prediction => &[
                Field::Prompt,
                Field::References,
                Field::Tests,
                Field::EntryPoint,
                Field::TestSetup,
                Field::Id,
                Field::Language,
            ],
        }
    }

    fn fits(self, fields: &[Field]) -> bool {
        let has = |field: &Field| fields.contains(field);
        if self == Self::Demonstration && has(&Field::Messages) {
            return true;
        }
        let required = self.required().iter();
        let mut required = required.filter(|field| !field.is_optional(Some(self)));
        required.all(has)
            && (self != Self::Evaluation || has(&Field::References) || has(&Field::Tests))
    }

    fn uses(self, field: Field) -> bool {
        self.required().contains(&field) || self.optional().contains(&field)
    }
}

/// TRL's column of texts without a prompt.
const TEXT: &str = "text";

/// What a column can fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// What is asked.
    Prompt,
    /// What is answered; a prediction's column may be called `prediction`,
    /// `completion` or `generation` as well.
    Response,
    /// The response that people prefer.
    Chosen,
    /// The other response.
    Rejected,
    /// A rating of the response: a number.
    Rating,
    /// Raw scores that people gave: numbers.
    Logits,
    /// Accepted answers; the column may be called `reference` as well.
    #[serde(alias = "reference")]
    References,
    /// Test code or input/output cases; a prediction's column may be called
    /// `test` as well.
    Tests,
    /// What the tests call: the argument of HumanEval's `check`.
    EntryPoint,
    /// Code that goes before each test.
    TestSetup,
    /// What a prediction is known by; the column may be called `task_id` as well.
    Id,
    /// Programming language of a prediction.
    Language,
    /// A demonstration as one conversation, whose last message is the response.
    Messages,
}

impl Field {
    const ALL: [Self; 13] = [
        Self::Prompt,
        Self::Response,
        Self::Chosen,
        Self::Rejected,
        Self::Rating,
        Self::Logits,
        Self::References,
        Self::Tests,
        Self::EntryPoint,
        Self::TestSetup,
        Self::Id,
        Self::Language,
        Self::Messages,
    ];

    /// The column's name where the option `columns` doesn't say otherwise.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Response => "response",
            Self::Chosen => "chosen",
            Self::Rejected => "rejected",
            Self::Rating => "rating",
            Self::Logits => "logits",
            Self::References => "references",
            Self::Tests => "tests",
            Self::EntryPoint => "entry_point",
            Self::TestSetup => "test_setup",
            Self::Id => "id",
            Self::Language => "language",
            Self::Messages => "messages",
        }
    }

    /// Whether a row may lack it; `kind` is that of the row, if it is known.
    pub fn is_optional(self, kind: Option<Kind>) -> bool {
        match self {
            Self::Logits
            | Self::References
            | Self::Tests
            | Self::EntryPoint
            | Self::TestSetup
            | Self::Id
            | Self::Language
            | Self::Messages => true,
            // What both responses of a comparison begin with can be their prompt.
            Self::Prompt => matches!(kind, Some(Kind::Prediction | Kind::Comparison)),
            Self::Response | Self::Chosen | Self::Rejected | Self::Rating => false,
        }
    }

    /// What else the column may be called.
    fn other_names(self, kind: Option<Kind>) -> &'static [&'static str] {
        match (self, kind) {
            (Self::References, _) => &["reference"],
            // What models answered comes from many tools: HumanEval's files have
            // `task_id`, `completion` and `test`.
            (Self::Response, Some(Kind::Prediction)) => &["prediction", "completion", "generation"],
            (Self::Response, Some(Kind::Text)) => &[TEXT],
            // TRL's name.
            (Self::Response, _) => &["completion"],
            (Self::Tests, Some(Kind::Prediction)) => &["test"],
            (Self::Id, Some(Kind::Prediction)) => &["task_id"],
            _ => &[],
        }
    }

    fn is_called(self, column: &str, kind: Option<Kind>) -> bool {
        let is = |name: &&str| column.eq_ignore_ascii_case(name);
        is(&self.name()) || self.other_names(kind).iter().any(is)
    }

    /// Names under which public data sets have the field: for hints only.
    fn usual_names(self) -> &'static [&'static str] {
        match self {
            Self::Prompt => &[
                "question",
                "instruction",
                "intent",
                "query",
                "problem",
                "input",
            ],
            Self::Response => &[
                "answer",
                "best_answer",
                "completion",
                "generation",
                "output",
                "snippet",
                "solution",
                "code",
            ],
            Self::Chosen => &["preferred_answer", "preferred", "better", "winner"],
            Self::Rejected => &["other_answer", "dispreferred", "worse", "loser"],
            Self::Rating => &["score", "stars", "label"],
            Self::Logits => &[],
            Self::References => &["canonical_solution", "target", "gold"],
            Self::Tests => &["test", "test_list"],
            Self::EntryPoint | Self::TestSetup => &[],
            Self::Messages => &["conversations"],
            Self::Id => &["question_id", "sample_id"],
            Self::Language => &["lang", "programming_language"],
        }
    }
}

/// A data set of programming tasks that is known by its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TaskFormat {
    HumanEval,
    Mbpp,
    Apps,
}

impl TaskFormat {
    fn of(names: &[&str]) -> Option<Self> {
        let has = |column: &str| names.iter().any(|name| name.eq_ignore_ascii_case(column));
        if has("test") && has("entry_point") {
            Some(Self::HumanEval)
        } else if has("test_list") {
            Some(Self::Mbpp)
        } else if has("input_output") {
            Some(Self::Apps)
        } else {
            None
        }
    }

    /// What it calls by names of its own.
    fn fields(self) -> &'static [(&'static str, Field)] {
        match self {
            Self::HumanEval => &[
                ("test", Field::Tests),
                ("canonical_solution", Field::References),
                ("task_id", Field::Id),
            ],
            Self::Mbpp => &[
                ("test_list", Field::Tests),
                ("test_setup_code", Field::TestSetup),
                ("test_imports", Field::TestSetup),
                ("text", Field::Prompt),
                ("code", Field::References),
                ("task_id", Field::Id),
            ],
            Self::Apps => &[
                ("input_output", Field::Tests),
                ("question", Field::Prompt),
                ("problem_id", Field::Id),
            ],
        }
    }

    /// What a column holds, unless another one has that name by right.
    fn field(self, column: &str, names: &[&str], kind: Option<Kind>) -> Option<Field> {
        let mut fields = self.fields().iter();
        let (_, field) = fields.find(|(name, _)| name.eq_ignore_ascii_case(column))?;
        let mut others = names.iter().filter(|name| **name != column);
        (!others.any(|name| field.is_called(name, kind))).then_some(*field)
    }
}

/// The option `columns`: where to find a field.
pub type Columns = BTreeMap<Field, String>;

/// What a table's columns mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    kind: Kind,
    /// One a column, in order; `None` fills no field.
    fields: Vec<Option<Field>>,
    warning: Option<String>,
}

impl Layout {
    /// The layout of a table with these columns.
    ///
    /// # Errors
    /// `missing-column`: the columns make no record, or not one of the `kind`
    /// asked for; the message says what was found, what is needed, and which
    /// `columns` would do. `duplicate-column`: two columns fill one field.
    pub fn recognise(names: &[&str], columns: &Columns, kind: Option<Kind>) -> Result<Self, Error> {
        let (columns, elsewhere): (Columns, Columns) = columns
            .clone()
            .into_iter()
            .partition(|(_, column)| names.contains(&column.as_str()));
        let layout = Self::of_columns(names, &columns, kind);
        match elsewhere.first_key_value() {
            Some((field, column)) if layout.is_err() => Err(Error::new(
                "missing-column",
                format!(
                    "column `{column}`, which the option `columns` names for `{}`, is missing: found {}",
                    field.name(),
                    found(names)
                ),
            )),
            _ => {
                let mut layout = layout?;
                layout.warning = elsewhere.iter().find_map(|(field, column)| {
                    let filled = |other: &Option<Field>| other == &Some(*field);
                    let instead = layout.fields.iter().position(filled)?;
                    Some(format!(
                        "column `{column}`, which the option `columns` names for `{}`, is missing: took `{}`",
                        field.name(),
                        names[instead]
                    ))
                });
                Ok(layout)
            }
        }
    }

    /// The layout of a table that has all of the mapped `columns`.
    fn of_columns(names: &[&str], columns: &Columns, kind: Option<Kind>) -> Result<Self, Error> {
        let format = TaskFormat::of(names);
        // TRL's name means a response where nothing else does.
        let gives_way = |field: Field, name: &str| {
            let by_name = |other: &&str| other.eq_ignore_ascii_case(field.name());
            field == Field::Response
                && kind != Some(Kind::Prediction)
                && !by_name(&name)
                && (format.is_some() || names.iter().any(by_name))
        };
        let field_of = |name: &str| {
            let mapped = columns
                .iter()
                .find(|(_, column)| *column == name)
                .map(|(field, _)| *field);
            let own = || {
                Field::ALL
                    .into_iter()
                    .find(|field| field.is_called(name, kind) && !columns.contains_key(field))
                    .filter(|field| !gives_way(*field, name))
            };
            let of_format = || {
                format
                    .and_then(|format| format.field(name, names, kind))
                    .filter(|field| !columns.contains_key(field))
            };
            mapped.or_else(own).or_else(of_format)
        };
        let mut fields: Vec<Option<Field>> = names.iter().map(|name| field_of(name)).collect();
        let present: Vec<Field> = fields.iter().copied().flatten().collect();
        let kind = match kind {
            Some(kind) if kind.fits(&present) => kind,
            Some(kind) => return Err(missing(names, &present, &[kind])),
            None if !present.contains(&Field::Rating) && present.contains(&Field::Logits) => {
                return Err(missing(names, &present, &[Kind::Rating]));
            }
            None => match Kind::RECOGNISED
                .into_iter()
                .find(|kind| kind.fits(&present))
            {
                Some(kind) => kind,
                // Of a text alone nothing else can be made.
                None if present.iter().all(|field| *field == Field::Id)
                    && names.iter().any(|name| name.eq_ignore_ascii_case(TEXT)) =>
                {
                    return Self::of_columns(names, columns, Some(Kind::Text));
                }
                None => return Err(missing(names, &present, &Kind::RECOGNISED)),
            },
        };
        // A prompt of another name must not be lost: nobody would miss it.
        let usual = Field::Prompt.usual_names();
        let is_prompt = |name: &&str| usual.iter().any(|usual| name.eq_ignore_ascii_case(usual));
        if kind == Kind::Comparison
            && !present.contains(&Field::Prompt)
            && names.iter().any(is_prompt)
        {
            return Err(missing(names, &present, &[kind]));
        }
        for field in &mut fields {
            *field = field.filter(|field| kind.uses(*field));
        }
        for (index, field) in fields.iter().enumerate() {
            if let Some(field) = field
                && let Some(first) = fields[..index]
                    .iter()
                    .position(|other| other == &Some(*field))
            {
                return Err(Error::new(
                    "duplicate-column",
                    format!(
                        "columns `{}` and `{}` both hold `{}`\nhint: choose one with the option `columns`",
                        names[first],
                        names[index],
                        field.name()
                    ),
                ));
            }
        }
        Ok(Self {
            kind,
            fields,
            warning: None,
        })
    }

    /// The record its rows become.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What people are to be told of it: a mapped column is missing, and another one that is
    /// known by its name was taken for its field. Of several files some may be such.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// What a column fills; `None` for those that go to `extra`.
    pub fn field(&self, column: usize) -> Option<Field> {
        self.fields.get(column).copied().flatten()
    }
}

/// The first few names: a message has to stay readable with a hundred.
fn found(names: &[&str]) -> String {
    const SHOWN: usize = 12;
    let shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect();
    match names.len() {
        0 => "none".to_owned(),
        more if more > SHOWN => format!("{} and {} more", shown.join(", "), more - SHOWN),
        _ => shown.join(", "),
    }
}

fn missing(names: &[&str], present: &[Field], kinds: &[Kind]) -> Error {
    let needs: Vec<String> = kinds
        .iter()
        .map(|kind| {
            let mut fields: Vec<String> = kind
                .required()
                .iter()
                .map(|field| format!("`{}`", field.name()))
                .collect();
            if *kind == Kind::Evaluation {
                fields.push("`references` or `tests`".to_owned());
            }
            format!(
                "{} for {} {}",
                fields.join(", "),
                article(*kind),
                kind.name()
            )
        })
        .collect();
    let mut message = format!(
        "columns: found {}; expected {}",
        found(names),
        needs.join("; or ")
    );
    let guess = kinds.iter().find_map(|kind| {
        let mut columns = Vec::new();
        let wanted = kind.required().iter().chain(kind.optional());
        let mut fields = present.to_vec();
        for field in wanted.filter(|field| !present.contains(field)) {
            let name = field
                .usual_names()
                .iter()
                .find_map(|usual| names.iter().find(|name| name.eq_ignore_ascii_case(usual)));
            if let Some(name) = name {
                columns.push(format!("\"{}\": \"{name}\"", field.name()));
                fields.push(*field);
            }
        }
        let all = kind.required().iter().all(|field| fields.contains(field));
        (!columns.is_empty() && all && kind.fits(&fields)).then(|| columns.join(", "))
    });
    let prediction = Some(Kind::Prediction);
    let could_be_predictions = *kinds == Kind::RECOGNISED
        && names
            .iter()
            .any(|name| Field::Response.is_called(name, prediction));
    match guess {
        Some(columns) => {
            message.push_str(&format!("\nhint: set the option `columns` to {{{columns}}}"));
        }
        None if could_be_predictions => message.push_str(
            "\nhint: for a model's answers that are to be scored, set the option `kind` to \"prediction\"",
        ),
        None => message.push_str(
            "\nhint: the option `columns` says where fields are, for instance {\"prompt\": \"question\"}",
        ),
    }
    Error::new("missing-column", message)
}

fn article(kind: Kind) -> &'static str {
    if kind == Kind::Evaluation { "an" } else { "a" }
}

/// A row being read: fields are put in as they come, [`Draft::row`] checks
/// that none is missing.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    texts: [Option<String>; 7],
    rating: Option<f64>,
    logits: Vec<f64>,
    references: Vec<String>,
    tests: Vec<String>,
    test_setup: Vec<String>,
    conversations: BTreeMap<Field, Vec<Value>>,
}

/// A value of the right type for its field.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValue {
    /// For `prompt`, `response`, `chosen`, `rejected`, `entry_point`, `id`, `language`.
    Text(String),
    /// For `rating`: finite.
    Number(f64),
    /// For `logits`: finite.
    Numbers(Vec<f64>),
    /// For `references`, `tests` and `test_setup`.
    Texts(Vec<String>),
    /// For `messages`, and in the place of a text for `prompt`, `response`, `chosen` and
    /// `rejected`: what [`conversation`] has checked.
    Messages(Vec<Value>),
}

impl Draft {
    /// Fills a field.
    ///
    /// # Panics
    /// The value isn't of the field's type: the adapter has a bug.
    pub fn set(&mut self, field: Field, value: FieldValue) {
        match (field, value) {
            (Field::Prompt, FieldValue::Text(text)) => self.texts[0] = Some(text),
            (Field::Response, FieldValue::Text(text)) => self.texts[1] = Some(text),
            (Field::Chosen, FieldValue::Text(text)) => self.texts[2] = Some(text),
            (Field::Rejected, FieldValue::Text(text)) => self.texts[3] = Some(text),
            (Field::Id, FieldValue::Text(text)) => self.texts[4] = Some(text),
            (Field::Language, FieldValue::Text(text)) => self.texts[5] = Some(text),
            (Field::EntryPoint, FieldValue::Text(text)) => self.texts[6] = Some(text),
            (Field::Rating, FieldValue::Number(number)) => self.rating = Some(number),
            (Field::Logits, FieldValue::Numbers(numbers)) => self.logits = numbers,
            (Field::References, FieldValue::Texts(texts)) => self.references = texts,
            (Field::Tests, FieldValue::Texts(texts)) => self.tests = texts,
            (Field::TestSetup, FieldValue::Texts(texts)) => self.test_setup = texts,
            (
                Field::Prompt | Field::Response | Field::Chosen | Field::Rejected | Field::Messages,
                FieldValue::Messages(messages),
            ) => drop(self.conversations.insert(field, messages)),
            (field, value) => panic!("field `{}` can't hold {value:?}", field.name()),
        }
    }

    /// The whole row; `extra` is what fills no field.
    ///
    /// # Errors
    /// A field that the record needs was not filled, or conversations don't fit together.
    pub fn row(
        mut self,
        kind: Kind,
        origin: Origin,
        mut extra: Vec<(String, String)>,
    ) -> Result<Row, RowError> {
        let fault = |(field, message): (Field, String)| RowError {
            origin,
            field: field.name().to_owned(),
            message,
        };
        let mut said = std::mem::take(&mut self.conversations);
        if kind == Kind::Comparison && self.texts[0].is_none() && !said.contains_key(&Field::Prompt)
        {
            let drawn = match (&self.texts[2], &self.texts[3]) {
                (Some(chosen), Some(rejected)) => conversations::draw_text(chosen, rejected),
                _ => conversations::draw_messages(&said),
            };
            match drawn.map_err(|message| fault((Field::Chosen, message)))? {
                Draw::Texts(texts) => {
                    let [prompt, chosen, rejected] = texts.map(Some);
                    (self.texts[0], self.texts[2], self.texts[3]) = (prompt, chosen, rejected);
                }
                Draw::Messages(drawn) => said = drawn,
            }
        }
        if kind == Kind::Demonstration
            && self.texts[1].is_none()
            && !said.contains_key(&Field::Response)
        {
            conversations::split(&mut said).map_err(fault)?;
        }
        let mut names = Vec::new();
        for (field, messages) in said {
            if field == Field::Messages {
                continue;
            }
            let text = if kind == Kind::Prediction {
                conversations::last_content(&messages)
            } else {
                names.push(field.name());
                Value::Array(messages).to_string()
            };
            self.set(field, FieldValue::Text(text));
        }
        if !names.is_empty() {
            extra.push((CONVERSATION.to_owned(), names.join(",")));
        }
        let content = self.finish(kind, origin)?;
        Ok(Row {
            origin,
            content,
            extra,
        })
    }

    /// The record of texts alone.
    ///
    /// # Errors
    /// A field that the record needs was not filled.
    fn finish(self, kind: Kind, origin: Origin) -> Result<Content, RowError> {
        let [
            prompt,
            response,
            chosen,
            rejected,
            id,
            language,
            entry_point,
        ] = self.texts;
        let tests = self
            .tests
            .into_iter()
            .map(|test| completed(test, entry_point.as_deref(), &self.test_setup))
            .collect::<Vec<_>>();
        let lacks = |field: &str, expected: &str| RowError {
            origin,
            field: field.to_owned(),
            message: format!("expected {expected}, found nothing"),
        };
        let text =
            |value: Option<String>, field: Field| value.ok_or_else(|| lacks(field.name(), "text"));
        let prompt = if matches!(kind, Kind::Prediction | Kind::Text) {
            prompt.unwrap_or_default()
        } else {
            text(prompt, Field::Prompt)?
        };
        Ok(match kind {
            Kind::Comparison => Content::Comparison {
                prompt,
                chosen: text(chosen, Field::Chosen)?,
                rejected: text(rejected, Field::Rejected)?,
            },
            Kind::Rating => Content::Rating {
                prompt,
                response: text(response, Field::Response)?,
                rating: self
                    .rating
                    .ok_or_else(|| lacks(Field::Rating.name(), "a number"))?,
                logits: self.logits,
            },
            Kind::Demonstration | Kind::Text => Content::Demonstration {
                prompt,
                response: text(response, Field::Response)?,
            },
            Kind::Evaluation => {
                if self.references.is_empty() && tests.is_empty() {
                    let fields = one_of(&[Field::References.name(), Field::Tests.name()]);
                    return Err(lacks("", &fields));
                }
                Content::Evaluation {
                    prompt,
                    references: self.references,
                    tests,
                }
            }
            Kind::Prediction => Content::Prediction {
                id: id.unwrap_or_default(),
                prompt,
                response: text(response, Field::Response)?,
                references: self.references,
                tests,
                // `Python` and `python` are one language, and metrics compare names.
                language: language.unwrap_or_default().to_lowercase(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], columns: &str, kind: Option<Kind>, expected: Result<Kind, &str>) {
        let columns: Columns = serde_json::from_str(columns).unwrap();
        let found = Layout::recognise(names, &columns, kind);
        match (found, expected) {
            (Ok(layout), Ok(kind)) => assert_eq!(layout.kind(), kind, "{names:?}"),
            (Err(error), Err(message)) => assert_eq!(error.message, message),
            (found, expected) => panic!("{names:?}: expected {expected:?}, found {found:?}"),
        }
    }

    // Catches data that is silently read as something else than it is.
    #[test]
    fn columns_decide() {
        check(&["prompt", "response"], "{}", None, Ok(Kind::Demonstration));
        check(&["Prompt", "Response"], "{}", None, Ok(Kind::Demonstration));
        check(
            &["response", "x", "prompt", "rating"],
            "{}",
            None,
            Ok(Kind::Rating),
        );
        check(
            &["prompt", "response", "rating", "logits"],
            "{}",
            None,
            Ok(Kind::Rating),
        );
        check(&["prompt", "reference"], "{}", None, Ok(Kind::Evaluation));
        check(&["text"], "{}", None, Ok(Kind::Text));
        check(&["id", "Text", "url"], "{}", None, Ok(Kind::Text));
        check(
            &["text", "prompt", "response"],
            "{}",
            None,
            Ok(Kind::Demonstration),
        );
        check(
            &["prompt", "references", "tests"],
            "{}",
            None,
            Ok(Kind::Evaluation),
        );
        check(&["prompt", "tests"], "{}", None, Ok(Kind::Evaluation));
        check(
            &["prompt", "chosen", "rejected", "response"],
            "{}",
            None,
            Ok(Kind::Comparison),
        );
        check(
            &["prompt", "response", "rating"],
            "{}",
            Some(Kind::Demonstration),
            Ok(Kind::Demonstration),
        );
        check(
            &["question", "best_answer"],
            r#"{"prompt": "question", "response": "best_answer"}"#,
            None,
            Ok(Kind::Demonstration),
        );
        check(
            &["prompt", "response", "gold"],
            r#"{"reference": "gold"}"#,
            Some(Kind::Evaluation),
            Ok(Kind::Evaluation),
        );
    }

    // Catches predictions taken for demonstrations, and those of common tools
    // that can't be read without a mapping.
    #[test]
    fn predictions_are_never_guessed() {
        let kind = Some(Kind::Prediction);
        let found = Ok(Kind::Prediction);
        check(&["prompt", "response"], "{}", None, Ok(Kind::Demonstration));
        check(&["prompt", "response"], "{}", kind, found);
        for name in ["response", "prediction", "completion", "generation"] {
            check(&["task_id", name], "{}", kind, found);
        }
        check(&["answer", "id"], r#"{"response": "answer"}"#, kind, found);
        check(
            &["task_id", "completion"],
            "{}",
            None,
            Err("columns: found `task_id`, `completion`; expected \
                 `prompt`, `chosen`, `rejected` for a comparison; or `prompt`, `response`, `rating` for a rating; \
                 or `prompt`, `response` for a demonstration; or `prompt`, `references` or `tests` for an evaluation\n\
                 hint: for a model's answers that are to be scored, set the option `kind` to \"prediction\""),
        );
        check(
            &["question_id", "answer"],
            "{}",
            kind,
            Err(
                "columns: found `question_id`, `answer`; expected `response` for a prediction\n\
                 hint: set the option `columns` to {\"response\": \"answer\", \"id\": \"question_id\"}",
            ),
        );
        check(
            &["response", "completion"],
            "{}",
            kind,
            Err("columns `response` and `completion` both hold `response`\n\
                 hint: choose one with the option `columns`"),
        );
        check(
            &["response", "completion"],
            r#"{"response": "completion"}"#,
            kind,
            found,
        );
        // Under another kind these are columns like any other.
        check(
            &["prompt", "response", "test", "completion", "id", "language"],
            "{}",
            None,
            Ok(Kind::Demonstration),
        );
    }

    // Catches data sets of tasks that need a mapping, and columns of theirs
    // that are taken for something in other tables.
    #[test]
    fn task_formats_are_known() {
        let fields = |names: &[&str], kind| {
            let layout = Layout::recognise(names, &Columns::new(), kind).unwrap();
            let fields = (0..names.len()).map(|column| layout.field(column));
            (layout.kind(), fields.collect::<Vec<_>>())
        };
        let humaneval = [
            "task_id",
            "prompt",
            "entry_point",
            "canonical_solution",
            "test",
        ];
        let expected = [
            None,
            Some(Field::Prompt),
            Some(Field::EntryPoint),
            Some(Field::References),
            Some(Field::Tests),
        ];
        assert_eq!(
            fields(&humaneval, None),
            (Kind::Evaluation, expected.to_vec())
        );
        let mbpp = ["task_id", "text", "code", "test_list", "test_setup_code"];
        let expected = [
            None,
            Some(Field::Prompt),
            Some(Field::References),
            Some(Field::Tests),
            Some(Field::TestSetup),
        ];
        assert_eq!(fields(&mbpp, None), (Kind::Evaluation, expected.to_vec()));
        let apps = ["problem_id", "question", "solutions", "input_output"];
        let expected = [None, Some(Field::Prompt), None, Some(Field::Tests)];
        assert_eq!(fields(&apps, None), (Kind::Evaluation, expected.to_vec()));
        // A column of the field's own name comes first.
        let both = ["text", "prompt", "reference", "code", "test_list"];
        let expected = [
            None,
            Some(Field::Prompt),
            Some(Field::References),
            None,
            Some(Field::Tests),
        ];
        assert_eq!(fields(&both, None), (Kind::Evaluation, expected.to_vec()));
        // With answers beside them they are predictions, id included.
        let answered = ["task_id", "completion", "text", "test_list", "test_imports"];
        let expected = [
            Some(Field::Id),
            Some(Field::Response),
            Some(Field::Prompt),
            Some(Field::Tests),
            Some(Field::TestSetup),
        ];
        assert_eq!(
            fields(&answered, Some(Kind::Prediction)),
            (Kind::Prediction, expected.to_vec())
        );
        // Without the tests that give them away, the names mean nothing.
        let other = ["prompt", "response", "text", "code", "question"];
        let expected = [Some(Field::Prompt), Some(Field::Response), None, None, None];
        assert_eq!(
            fields(&other, None),
            (Kind::Demonstration, expected.to_vec())
        );
    }

    // Catches messages that leave people with nothing to do.
    #[test]
    fn missing_columns_are_named() {
        check(
            &["question", "preferred_answer", "other_answer"],
            "{}",
            None,
            Err(
                "columns: found `question`, `preferred_answer`, `other_answer`; expected \
                 `prompt`, `chosen`, `rejected` for a comparison; or `prompt`, `response`, `rating` for a rating; \
                 or `prompt`, `response` for a demonstration; or `prompt`, `references` or `tests` for an evaluation\n\
                 hint: set the option `columns` to {\"prompt\": \"question\", \"chosen\": \"preferred_answer\", \"rejected\": \"other_answer\"}",
            ),
        );
        check(
            &["prompt", "response", "logits"],
            "{}",
            None,
            Err(
                "columns: found `prompt`, `response`, `logits`; expected `prompt`, `response`, `rating` for a rating\n\
                 hint: the option `columns` says where fields are, for instance {\"prompt\": \"question\"}",
            ),
        );
        check(
            &["a", "b"],
            r#"{"prompt": "c"}"#,
            None,
            Err(
                "column `c`, which the option `columns` names for `prompt`, is missing: found `a`, `b`",
            ),
        );
        check(
            &["prompt", "reference", "references"],
            "{}",
            None,
            Err(
                "columns `reference` and `references` both hold `references`\n\
                 hint: choose one with the option `columns`",
            ),
        );
    }

    // Catches columns that vanish, or that fill a field under somebody else's name.
    #[test]
    fn what_fills_no_field_is_extra() {
        let fields = |names: &[&str], columns: &str| {
            let columns: Columns = serde_json::from_str(columns).unwrap();
            let layout = Layout::recognise(names, &columns, None).unwrap();
            (0..names.len())
                .map(|column| layout.field(column))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            fields(&["prompt", "response", "reference"], "{}"),
            [Some(Field::Prompt), Some(Field::Response), None]
        );
        assert_eq!(
            fields(
                &["prompt", "question", "response"],
                r#"{"prompt": "question"}"#
            ),
            [None, Some(Field::Prompt), Some(Field::Response)]
        );
    }

    // Catches a record with holes.
    #[test]
    fn every_field_is_needed() {
        let mut draft = Draft::default();
        let missing = |draft: &Draft, kind| {
            draft
                .clone()
                .finish(kind, Origin::default())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            missing(&draft, Kind::Rating),
            "row 0: `prompt`: expected text, found nothing"
        );
        draft.set(Field::Prompt, FieldValue::Text("p".into()));
        draft.set(Field::Response, FieldValue::Text("r".into()));
        assert_eq!(
            missing(&draft, Kind::Rating),
            "row 0: `rating`: expected a number, found nothing"
        );
        assert_eq!(
            missing(&draft, Kind::Evaluation),
            "row 0: expected `references` or `tests`, found nothing"
        );
        assert!(draft.finish(Kind::Demonstration, Origin::default()).is_ok());
    }

    // Catches a prediction that needs more than its response, and languages
    // that two spellings tell apart.
    #[test]
    fn a_prediction_needs_its_response_only() {
        let mut draft = Draft::default();
        draft.set(Field::Language, FieldValue::Text("Python".into()));
        let error = draft
            .clone()
            .finish(Kind::Prediction, Origin::default())
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "row 0: `response`: expected text, found nothing"
        );
        draft.set(Field::Response, FieldValue::Text("r".into()));
        let expected = Content::Prediction {
            id: String::new(),
            prompt: String::new(),
            response: "r".into(),
            references: Vec::new(),
            tests: Vec::new(),
            language: "python".into(),
        };
        assert_eq!(
            draft.finish(Kind::Prediction, Origin::default()),
            Ok(expected)
        );
    }

    fn recognised(names: &[&str], columns: &str) -> Result<Kind, String> {
        let columns: Columns = serde_json::from_str(columns).unwrap();
        let layout = Layout::recognise(names, &columns, None);
        layout
            .map(|layout| layout.kind())
            .map_err(|error| error.message)
    }

    // Catches TRL's data sets that need a mapping, and a prompt that is lost with one.
    #[test]
    fn trls_columns() {
        assert_eq!(
            recognised(&["chosen", "rejected"], "{}"),
            Ok(Kind::Comparison)
        );
        assert_eq!(
            recognised(&["prompt", "completion"], "{}"),
            Ok(Kind::Demonstration)
        );
        assert_eq!(
            recognised(&["messages", "source"], "{}"),
            Ok(Kind::Demonstration)
        );
        let lost = recognised(
            &["question", "good", "bad"],
            r#"{"chosen": "good", "rejected": "bad"}"#,
        );
        assert_eq!(
            lost.unwrap_err(),
            "columns: found `question`, `good`, `bad`; expected `prompt`, `chosen`, `rejected` for a comparison\n\
             hint: set the option `columns` to {\"prompt\": \"question\"}"
        );
    }

    // Catches a mapping that holds for one file of a run and refuses the other.
    #[test]
    fn columns_of_other_tables_are_left_alone() {
        let columns = r#"{"prompt": "question", "response": "best_answer", "chosen": "preferred"}"#;
        assert_eq!(
            recognised(&["question", "best_answer"], columns),
            Ok(Kind::Demonstration)
        );
        assert_eq!(
            recognised(&["question", "answer"], columns).unwrap_err(),
            "column `best_answer`, which the option `columns` names for `response`, is missing: found `question`, `answer`"
        );
    }

    // Catches a column whose name is mistyped, and another one that is trained on in its place.
    #[test]
    fn a_column_that_is_passed_over_is_told() {
        let warning = |names: &[&str], columns: &str| {
            let columns = serde_json::from_str(columns).unwrap();
            let layout = Layout::recognise(names, &columns, None).unwrap();
            layout.warning().map(ToOwned::to_owned)
        };
        let columns = r#"{"response": "best_answr", "chosen": "preferred"}"#;
        assert_eq!(
            warning(&["prompt", "completion", "best_answer"], columns).unwrap(),
            "column `best_answr`, which the option `columns` names for `response`, is missing: took `completion`"
        );
        assert_eq!(
            warning(&["prompt", "best_answr", "completion"], columns),
            None
        );
    }

    fn row(kind: Kind, fields: &[(Field, Value)]) -> Result<Row, String> {
        let mut draft = Draft::default();
        for (field, value) in fields {
            let value = match value {
                Value::String(text) => FieldValue::Text(text.clone()),
                other => conversation(*field, other.clone()).map(FieldValue::Messages)?,
            };
            draft.set(*field, value);
        }
        let row = draft.row(kind, Origin::default(), Vec::new());
        row.map_err(|error| error.to_string())
    }

    // Catches a prompt that TRL would have drawn otherwise, and conversations that lose a turn.
    #[test]
    fn prompts_are_drawn_as_trl_does() {
        let check = |chosen: Value, rejected: Value, expected: Result<[&str; 3], &str>| {
            let fields = [(Field::Chosen, chosen), (Field::Rejected, rejected)];
            let found = row(Kind::Comparison, &fields).map(|row| match row.content {
                Content::Comparison {
                    prompt,
                    chosen,
                    rejected,
                } => [prompt, chosen, rejected],
                other => panic!("{other:?}"),
            });
            let expected = expected.map(|texts| texts.map(str::to_owned));
            assert_eq!(found, expected.map_err(str::to_owned));
        };
        // TRL 1.16's documentation of `extract_prompt` has these two.
        check(
            "The sky is blue.".into(),
            "The sky is green.".into(),
            Ok(["The sky is", " blue.", " green."]),
        );
        let turn =
            |role: &str, content: &str| serde_json::json!({"role": role, "content": content});
        let ask = turn("user", "What color is the sky?");
        check(
            serde_json::json!([ask, turn("assistant", "It is blue.")]),
            serde_json::json!([ask, turn("assistant", "It is green.")]),
            Ok([
                r#"[{"role":"user","content":"What color is the sky?"}]"#,
                r#"[{"role":"assistant","content":"It is blue."}]"#,
                r#"[{"role":"assistant","content":"It is green."}]"#,
            ]),
        );
        check(
            "a".into(),
            "b".into(),
            Err(
                "row 0: `chosen`: expected `chosen` and `rejected` to begin with the same prompt, found nothing in common\nhint: give the prompt a column of its own, `prompt`",
            ),
        );
    }

    // Catches a demonstration that is read without its answer.
    #[test]
    fn messages_end_with_the_response() {
        let turn =
            |role: &str, content: &str| serde_json::json!({"role": role, "content": content});
        let both = serde_json::json!([turn("user", "p"), turn("assistant", "r")]);
        let found = row(Kind::Demonstration, &[(Field::Messages, both.clone())]).unwrap();
        let expected = Content::Demonstration {
            prompt: r#"[{"role":"user","content":"p"}]"#.into(),
            response: r#"[{"role":"assistant","content":"r"}]"#.into(),
        };
        assert_eq!(found.content, expected);
        assert_eq!(
            found.extra,
            [(CONVERSATION.into(), "prompt,response".into())]
        );
        let found = row(Kind::Prediction, &[(Field::Response, both)]).unwrap();
        assert!(matches!(found.content, Content::Prediction { response, .. } if response == "r"));
        assert_eq!(found.extra, []);
        let open = serde_json::json!([turn("user", "p")]);
        assert_eq!(
            row(Kind::Demonstration, &[(Field::Messages, open)]).unwrap_err(),
            "expected a last message of the assistant, found one of \"user\""
        );
    }
}
