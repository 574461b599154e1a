//! Runs a plugin natively against golden cases: numbers that a reference
//! implementation gave, kept in files.
//!
//! The functions panic with one line per difference, so a whole test is
//!
//! ```no_run
//! # use rlhf_sdk::{Error, Metric, MetricDescriptor, NoOptions, Sample, Score};
//! # struct Exact;
//! # impl Metric for Exact {
//! #     type Options = NoOptions;
//! #     fn new(_: NoOptions) -> Result<Self, Error> { Ok(Self) }
//! #     fn describe(&self) -> MetricDescriptor { MetricDescriptor::new("exact", "1.0.0", "") }
//! #     fn score(&self, sample: &Sample) -> Result<Score, Error> { Ok(Score::new(1.0)) }
//! # }
//! #[test]
//! fn equal_to_the_reference() {
//!     rlhf_sdk::testing::check_metric::<Exact>("golden/cases.jsonl");
//! }
//! ```
//!
//! Paths are relative to the crate, where `cargo test` runs.
//!
//! # Cases of metrics
//!
//! JSON Lines. A header says where the numbers come from and sets what holds
//! for the cases behind it; a case is a sample with what is expected; a corpus
//! line expects the score of the samples since the header.
//!
//! ```json
//! {"origin": "nltk 3.9.1, sentence_bleu(…, method1)", "tolerance": 1e-9, "options": {"max_order": 4}}
//! {"id": "one-off", "response": "a b c d", "references": ["a b c e"], "expected": {"value": 0.5946, "components": {"precision-1": 0.75}}}
//! {"id": "empty", "response": "", "references": [], "expected": {"error": "no-reference"}}
//! {"corpus": {"value": 0.4, "components": {}}}
//! ```
//!
//! A case may also have `prompt`, `language`, `tests`, and its own `tolerance`
//! and `options`. Components that `expected` leaves out are not compared.
//! The tolerance is absolute; without one, values must be equal.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::data_adapter::{Content, DataAdapter, Implementation as _, Origin, Reading, Source};
use crate::host::Verdict;
use crate::metric::{
    Additive, AdditiveMetric, CorpusMetric, Implementation, Level, Mean, Metric, Score, Whole,
};
use crate::reward_shaper::{
    Context, Execution, Implementation as _, Reward, RewardShaper, Rollout, Shaping,
};
use crate::types::{Error, NamedValue, Outcome, Sample};

/// Set to anything, it makes [`check_data_adapter`] write what it found into
/// the expected files, to be read before they are committed.
pub const BLESS: &str = "RLHF_BLESS";

/// Compares a [`Metric`] with golden cases; see the module.
///
/// # Panics
/// A case differs, the file can't be read, or it holds no cases.
#[track_caller]
pub fn check_metric<M: Metric>(cases: impl AsRef<Path>) {
    finish(compare_metric::<Mean<M>>(cases.as_ref()));
}

/// Compares an [`AdditiveMetric`] with golden cases; see the module.
///
/// # Panics
/// A case differs, the file can't be read, or it holds no cases.
#[track_caller]
pub fn check_additive_metric<M: AdditiveMetric>(cases: impl AsRef<Path>) {
    finish(compare_metric::<Additive<M>>(cases.as_ref()));
}

/// Compares a [`CorpusMetric`] with golden cases: `expected` of a case is the
/// score of that sample alone; see the module.
///
/// # Panics
/// A case differs, the file can't be read, or it holds no cases.
#[track_caller]
pub fn check_corpus_metric<M: CorpusMetric>(cases: impl AsRef<Path>) {
    finish(compare_metric::<Whole<M>>(cases.as_ref()));
}

/// Compares a [`RewardShaper`] with golden cases, JSON Lines:
///
/// ```json
/// {"origin": "worked out by hand", "tolerance": 1e-12, "options": {"weight": 0.5}}
/// {"id": "long", "rollout": {"response": "…", "tokens": ["a", "b"], "metrics": {"bleu": 0.3}}, "context": {"response_tokens_max": 8}, "expected": {"scalar": 0.25, "per_token": [], "parts": {"length": 0.25}}}
/// {"id": "no-metric", "rollout": {}, "expected": {"abstain": "bleu was not computed"}}
/// ```
///
/// # Panics
/// A case differs, the file can't be read, or it holds no cases.
#[track_caller]
pub fn check_reward_shaper<S: RewardShaper>(cases: impl AsRef<Path>) {
    finish(compare_shaper::<S>(cases.as_ref()));
}

/// Reads every file of a folder (hidden ones aside) with a [`DataAdapter`] and compares the rows
/// with those in `FILE.expected.jsonl` beside it, one row or row-error a line,
/// under a header `{"origin": …, "options": {…}}`. Each file is read twice, in
/// large and in small batches, which must agree.
///
/// # Panics
/// A row differs, a file can't be read, an expected file is missing (set
/// [`BLESS`] to write it), or there are no files.
#[track_caller]
pub fn check_data_adapter<A: DataAdapter>(folder: impl AsRef<Path>) {
    finish(compare_adapter::<A>(folder.as_ref()));
}

/// What a native test puts in the place of the host's sandbox; see [`with_sandbox`].
///
/// The methods mean what those of [`host::Sandbox`](crate::host::Sandbox) do.
pub trait Sandbox {
    /// Whether a source compiles; unless implemented, any does.
    ///
    /// # Errors
    /// `syntax-error`, or what a host would refuse.
    fn check(&self, _language: &str, _source: &str) -> Result<(), Error> {
        Ok(())
    }

    /// Runs a program; unless implemented, any finishes without a word.
    ///
    /// # Errors
    /// What a host would refuse.
    fn execute(&self, _language: &str, _source: &str, _stdin: &[u8]) -> Result<Outcome, Error> {
        Ok(Outcome {
            kind: "finished".to_owned(),
            ..Outcome::default()
        })
    }

    /// Judges a candidate; unless implemented, it passes all tests.
    ///
    /// # Errors
    /// What a host would refuse.
    fn judge(
        &self,
        _language: &str,
        _prompt: &str,
        _candidate: &str,
        tests: &[String],
    ) -> Result<Verdict, Error> {
        let total = u32::try_from(tests.len()).unwrap_or(u32::MAX);
        Ok(Verdict::new(total, Vec::new()))
    }
}

std::thread_local! {
    static SANDBOX: RefCell<Option<Rc<dyn Sandbox>>> = const { RefCell::new(None) };
}

/// The stand-in of this thread.
pub(crate) fn current_sandbox() -> Option<Rc<dyn Sandbox>> {
    SANDBOX.with(|sandbox| sandbox.borrow().clone())
}

/// Runs `test` with a stand-in for the host's sandbox: on this thread,
/// [`host::sandbox`](crate::host::sandbox) gives it until `test` has ended.
///
/// ```
/// use rlhf_sdk::{host, testing};
///
/// struct Obliging;
/// impl testing::Sandbox for Obliging {}
///
/// testing::with_sandbox(Obliging, || {
///     let sandbox = host::sandbox().unwrap();
///     assert_eq!(sandbox.execute("python", "", b"").unwrap().kind, "finished");
/// });
/// assert!(host::sandbox().is_err());
/// ```
pub fn with_sandbox<T>(sandbox: impl Sandbox + 'static, test: impl FnOnce() -> T) -> T {
    /// Puts back what was there, also after a panic.
    struct Restored(Option<Rc<dyn Sandbox>>);

    impl Drop for Restored {
        fn drop(&mut self) {
            let before = self.0.take();
            SANDBOX.with(|sandbox| *sandbox.borrow_mut() = before);
        }
    }

    let sandbox: Rc<dyn Sandbox> = Rc::new(sandbox);
    let _restored = Restored(SANDBOX.with(|current| current.borrow_mut().replace(sandbox)));
    test()
}

/// What differs, a line each; or why nothing could be compared.
type Differences = Result<Vec<String>, String>;

#[track_caller]
fn finish(differences: Differences) {
    match differences {
        Ok(differences) if differences.is_empty() => {}
        Ok(differences) => {
            panic!(
                "{} golden cases differ:\n{}",
                differences.len(),
                differences.join("\n")
            )
        }
        Err(error) => panic!("{error}"),
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// Name, version and call of what gave the numbers.
    #[serde(rename = "origin")]
    _origin: String,
    #[serde(default)]
    tolerance: f64,
    #[serde(default)]
    options: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricCase {
    #[serde(default)]
    id: String,
    #[serde(default)]
    prompt: String,
    response: String,
    #[serde(default)]
    references: Vec<String>,
    #[serde(default)]
    language: String,
    #[serde(default)]
    tests: Vec<String>,
    options: Option<Map<String, Value>>,
    tolerance: Option<f64>,
    expected: ExpectedScore,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CorpusCase {
    corpus: ExpectedScore,
    tolerance: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum ExpectedScore {
    Error {
        error: String,
    },
    Score {
        value: f64,
        #[serde(default)]
        components: Map<String, Value>,
    },
}

/// The lines of a JSONL file with their numbers, and a prefix for messages.
fn lines(path: &Path) -> Result<Vec<(String, Value)>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut values = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let place = format!("{}:{}", path.display(), index + 1);
        let value = serde_json::from_str(line).map_err(|error| format!("{place}: {error}"))?;
        values.push((place, value));
    }
    if values.iter().all(|(_, value)| is_header(value)) {
        return Err(format!(
            "{}: expected golden cases, found none",
            path.display()
        ));
    }
    Ok(values)
}

fn is_header(line: &Value) -> bool {
    line.get("origin").is_some()
}

fn typed<T: serde::de::DeserializeOwned>(place: &str, value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| format!("{place}: {error}"))
}

fn compare_metric<I: Implementation>(path: &Path) -> Differences {
    let mut header = Header::default();
    let mut samples = Vec::new();
    let mut differences = Vec::new();
    for (place, line) in lines(path)? {
        if is_header(&line) {
            header = typed(&place, line)?;
            samples.clear();
        } else if line.get("corpus").is_some() {
            let case: CorpusCase = typed(&place, line)?;
            let found = configure::<I>(&header.options)
                .and_then(|metric| score_all(&metric, &samples, Level::Corpus));
            let tolerance = case.tolerance.unwrap_or(header.tolerance);
            compare_score(
                &place,
                "corpus",
                &case.corpus,
                found,
                tolerance,
                &mut differences,
            );
        } else {
            let case: MetricCase = typed(&place, line)?;
            let sample = Sample {
                id: case.id.clone(),
                prompt: case.prompt,
                response: case.response,
                references: case.references,
                language: case.language,
                tests: case.tests,
                extra: Vec::new(),
            };
            let options = case.options.as_ref().unwrap_or(&header.options);
            let score = || {
                let metric = configure::<I>(options)?;
                score_all(&metric, std::slice::from_ref(&sample), Level::Sample)
            };
            let found = score();
            if found != score() {
                differences.push(format!(
                    "{place} {}: a second time gave another score",
                    case.id
                ));
            }
            let tolerance = case.tolerance.unwrap_or(header.tolerance);
            compare_score(
                &place,
                &case.id,
                &case.expected,
                found,
                tolerance,
                &mut differences,
            );
            if matches!(case.expected, ExpectedScore::Score { .. }) {
                samples.push(sample);
            }
        }
    }
    Ok(differences)
}

fn configure<I: Implementation>(options: &Map<String, Value>) -> Result<I, Error> {
    I::configure(&Value::Object(options.clone()).to_string())
}

/// As the host does it: statistics are summed in the samples' order.
fn score_all<I: Implementation>(
    metric: &I,
    samples: &[Sample],
    level: Level,
) -> Result<Score, Error> {
    if metric.statistics_length() == 0 {
        return metric.score_corpus(samples);
    }
    let mut sums = vec![0.0; metric.statistics_length()];
    for sample in samples {
        for (sum, number) in sums.iter_mut().zip(metric.measure(sample)?) {
            *sum += number;
        }
    }
    metric.score(&sums, level)
}

fn compare_score(
    place: &str,
    id: &str,
    expected: &ExpectedScore,
    found: Result<Score, Error>,
    tolerance: f64,
    differences: &mut Vec<String>,
) {
    let mut differ = |what: String| differences.push(format!("{place} {id}: {what}"));
    match (expected, found) {
        (ExpectedScore::Error { error }, Err(found)) if *error == found.code => {}
        (ExpectedScore::Error { error }, Err(found)) => {
            differ(format!(
                "expected error `{error}`, found `{}`: {found}",
                found.code
            ));
        }
        (ExpectedScore::Error { error }, Ok(found)) => {
            differ(format!(
                "expected error `{error}`, found value {}",
                found.value
            ));
        }
        (ExpectedScore::Score { value, .. }, Err(found)) => {
            differ(format!(
                "expected value {value}, found error `{}`: {found}",
                found.code
            ));
        }
        (ExpectedScore::Score { value, components }, Ok(found)) => {
            if !near(*value, found.value, tolerance) {
                differ(format!(
                    "value: expected {value} ± {tolerance}, found {}",
                    found.value
                ));
            }
            for what in compare_named(components, &found.components, tolerance) {
                differ(what);
            }
        }
    }
}

fn near(expected: f64, found: f64, tolerance: f64) -> bool {
    expected == found || (expected - found).abs() <= tolerance
}

fn compare_named(
    expected: &Map<String, Value>,
    found: &[NamedValue],
    tolerance: f64,
) -> Vec<String> {
    let mut differences = Vec::new();
    for (name, value) in expected {
        let found = found
            .iter()
            .find(|named| named.name == *name)
            .map(|named| named.value);
        match (value.as_f64(), found) {
            (Some(value), Some(found)) if near(value, found, tolerance) => {}
            (Some(_), Some(found)) => {
                differences.push(format!(
                    "{name}: expected {value} ± {tolerance}, found {found}"
                ));
            }
            (Some(_), None) => differences.push(format!("{name}: expected {value}, found nothing")),
            (None, _) => differences.push(format!("{name}: the golden value {value} is no number")),
        }
    }
    differences
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShaperCase {
    #[serde(default)]
    id: String,
    rollout: GivenRollout,
    #[serde(default)]
    context: GivenContext,
    options: Option<Map<String, Value>>,
    tolerance: Option<f64>,
    expected: ExpectedReward,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct GivenRollout {
    prompt: String,
    response: String,
    references: Vec<String>,
    language: String,
    tests: Vec<String>,
    tokens: Vec<String>,
    reward_model_score: Option<f64>,
    metrics: Map<String, Value>,
    execution: Option<GivenExecution>,
    kl: Option<f64>,
    finish_reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenExecution {
    total: u32,
    passed: u32,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct GivenContext {
    step: u64,
    steps_total: u64,
    response_tokens_max: u32,
    targets: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum ExpectedReward {
    Error {
        error: String,
    },
    Abstain {
        abstain: String,
    },
    Value {
        scalar: f64,
        #[serde(default)]
        per_token: Vec<f64>,
        #[serde(default)]
        parts: Map<String, Value>,
    },
}

fn named_values(place: &str, values: Map<String, Value>) -> Result<Vec<NamedValue>, String> {
    values
        .into_iter()
        .map(|(name, value)| match value.as_f64() {
            Some(value) => Ok(NamedValue::new(name, value)),
            None => Err(format!(
                "{place}: `{name}`: expected a number, found {value}"
            )),
        })
        .collect()
}

fn compare_shaper<S: RewardShaper>(path: &Path) -> Differences {
    let mut header = Header::default();
    let mut differences = Vec::new();
    for (place, line) in lines(path)? {
        if is_header(&line) {
            header = typed(&place, line)?;
            continue;
        }
        let case: ShaperCase = typed(&place, line)?;
        let given = case.rollout;
        let rollout = Rollout {
            sample: Sample {
                id: case.id.clone(),
                prompt: given.prompt,
                response: given.response,
                references: given.references,
                language: given.language,
                tests: given.tests,
                extra: Vec::new(),
            },
            tokens: given.tokens,
            reward_model_score: given.reward_model_score,
            metrics: named_values(&place, given.metrics)?,
            execution: given
                .execution
                .map(|GivenExecution { total, passed }| Execution { total, passed }),
            kl: given.kl,
            finish_reason: given.finish_reason,
            extra: Vec::new(),
        };
        let context = Context {
            step: case.context.step,
            steps_total: case.context.steps_total,
            response_tokens_max: case.context.response_tokens_max,
            targets: named_values(&place, case.context.targets)?,
            extra: Vec::new(),
        };
        let options = Value::Object(case.options.unwrap_or_else(|| header.options.clone()));
        let found = Shaping::<S>::configure(&options.to_string())
            .and_then(|shaper| shaper.shape(&rollout, &context));
        let tolerance = case.tolerance.unwrap_or(header.tolerance);
        for what in compare_reward(&case.expected, found, tolerance) {
            differences.push(format!("{place} {}: {what}", case.id));
        }
    }
    Ok(differences)
}

fn compare_reward(
    expected: &ExpectedReward,
    found: Result<Reward, Error>,
    tolerance: f64,
) -> Vec<String> {
    match (expected, found) {
        (ExpectedReward::Error { error }, Err(found)) if *error == found.code => Vec::new(),
        (ExpectedReward::Abstain { abstain }, Ok(Reward::Abstain(found))) if *abstain == found => {
            Vec::new()
        }
        (
            ExpectedReward::Value {
                scalar,
                per_token,
                parts,
            },
            Ok(Reward::Value {
                scalar: found,
                per_token: found_per_token,
                parts: found_parts,
            }),
        ) => {
            let mut differences = compare_named(parts, &found_parts, tolerance);
            if !near(*scalar, found, tolerance) {
                differences.push(format!(
                    "scalar: expected {scalar} ± {tolerance}, found {found}"
                ));
            }
            let same = per_token.len() == found_per_token.len()
                && per_token
                    .iter()
                    .zip(&found_per_token)
                    .all(|(a, b)| near(*a, *b, tolerance));
            if !same {
                differences.push(format!(
                    "per_token: expected {per_token:?}, found {found_per_token:?}"
                ));
            }
            differences
        }
        (expected, found) => {
            let expected = match expected {
                ExpectedReward::Error { error } => format!("error `{error}`"),
                ExpectedReward::Abstain { abstain } => format!("abstention ({abstain})"),
                ExpectedReward::Value { scalar, .. } => format!("reward {scalar}"),
            };
            let found = match found {
                Err(error) => format!("error `{}`: {error}", error.code),
                Ok(Reward::Abstain(reason)) => format!("abstention ({reason})"),
                Ok(Reward::Value { scalar, .. }) => format!("reward {scalar}"),
            };
            vec![format!("expected {expected}, found {found}")]
        }
    }
}

const EXPECTED_SUFFIX: &str = ".expected.jsonl";

fn compare_adapter<A: DataAdapter>(folder: &Path) -> Differences {
    let show = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).map_err(show)? {
        let path = entry.map_err(show)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Hidden files are for tools: `.gitattributes`.
        if path.is_file() && !name.ends_with(EXPECTED_SUFFIX) && !name.starts_with('.') {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(format!(
            "{}: expected golden files, found none",
            folder.display()
        ));
    }
    let bless = std::env::var_os(BLESS).is_some();
    let mut differences = Vec::new();
    for file in files {
        let bytes = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut expected_path = file.clone().into_os_string();
        expected_path.push(EXPECTED_SUFFIX);
        let expected_path = PathBuf::from(expected_path);
        let expected = match fs::read_to_string(&expected_path) {
            Ok(text) => text,
            Err(_) if bless => json!({"origin": "to be said", "options": {}}).to_string(),
            Err(error) => return Err(format!("{}: {error}", expected_path.display())),
        };
        let (first, rest) = expected.split_once('\n').unwrap_or((&expected, ""));
        let place = format!("{}:1", expected_path.display());
        let header = serde_json::from_str(first).map_err(|error| format!("{place}: {error}"))?;
        let header: Header = typed(&place, header)?;
        let options = Value::Object(header.options).to_string();
        let found = read_all::<A>(&bytes, &options, 64);
        let in_small_batches = read_all::<A>(&bytes, &options, 1);
        if found != in_small_batches {
            differences.push(format!("{}: small batches gave other rows", file.display()));
        }
        if bless {
            let mut text = format!("{first}\n");
            for line in &found {
                let _ = writeln!(text, "{line}");
            }
            fs::write(&expected_path, text)
                .map_err(|error| format!("{}: {error}", expected_path.display()))?;
            continue;
        }
        let mut expected = Vec::new();
        for (index, line) in rest.lines().enumerate() {
            let place = format!("{}:{}", expected_path.display(), index + 2);
            let value: Value =
                serde_json::from_str(line).map_err(|error| format!("{place}: {error}"))?;
            expected.push(value);
        }
        for index in 0..expected.len().max(found.len()) {
            let (expected, found) = (expected.get(index), found.get(index));
            if expected != found {
                let show = |value: Option<&Value>| {
                    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
                };
                differences.push(format!(
                    "{}:{}: expected {}, found {}",
                    expected_path.display(),
                    index + 2,
                    show(expected),
                    show(found)
                ));
            }
        }
    }
    Ok(differences)
}

/// Rows, row-errors and the final error as golden lines.
fn read_all<A: DataAdapter>(bytes: &[u8], options: &str, max: usize) -> Vec<Value> {
    let end = |error: Error| json!({"end": {"code": error.code, "message": error.message}});
    let mut reading = match Reading::<A>::open(Source::from_bytes(bytes), options) {
        Ok(reading) => reading,
        Err(error) => return vec![end(error)],
    };
    let mut found = Vec::new();
    loop {
        match reading.batch(max) {
            Ok(rows) if rows.is_empty() => return found,
            Ok(rows) => found.extend(rows.into_iter().map(|row| match row {
                Ok(row) => row_line(row.origin, row.content, row.extra),
                Err(error) => json!({
                    "line": error.origin.line,
                    "row": error.origin.row,
                    "field": error.field,
                    "error": error.message,
                }),
            })),
            Err(error) => {
                found.push(end(error));
                return found;
            }
        }
    }
}

fn row_line(origin: Origin, content: Content, extra: Vec<(String, String)>) -> Value {
    let mut line = match content {
        Content::Demonstration { prompt, response } => {
            json!({"kind": "demonstration", "prompt": prompt, "response": response})
        }
        Content::Comparison {
            prompt,
            chosen,
            rejected,
        } => {
            json!({"kind": "comparison", "prompt": prompt, "chosen": chosen, "rejected": rejected})
        }
        Content::Rating {
            prompt,
            response,
            rating,
            logits,
        } => json!({
            "kind": "rating", "prompt": prompt, "response": response,
            "rating": rating, "logits": logits,
        }),
        Content::Evaluation {
            prompt,
            references,
            tests,
        } => json!({
            "kind": "evaluation", "prompt": prompt, "references": references, "tests": tests,
        }),
        Content::Prediction {
            id,
            prompt,
            response,
            references,
            tests,
            language,
        } => json!({
            "kind": "prediction", "id": id, "prompt": prompt, "response": response,
            "references": references, "tests": tests, "language": language,
        }),
    };
    line["line"] = json!(origin.line);
    line["row"] = json!(origin.row);
    let extra: Vec<Value> = extra
        .into_iter()
        .map(|(key, value)| json!([key, value]))
        .collect();
    line["extra"] = json!(extra);
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MetricDescriptor, NoOptions};

    /// Shares of words in common, and 1 as a component.
    struct Words;

    impl AdditiveMetric for Words {
        type Options = NoOptions;

        fn new(_: NoOptions) -> Result<Self, Error> {
            Ok(Self)
        }

        fn describe(&self) -> MetricDescriptor {
            MetricDescriptor::new("words", "1.0.0", "words in common").components(["one"])
        }

        fn statistics_length(&self) -> usize {
            2
        }

        fn measure(&self, sample: &Sample) -> Result<Vec<f64>, Error> {
            let reference = sample
                .references
                .first()
                .ok_or_else(|| Error::new("no-reference", "expected a reference, found none"))?;
            let words: Vec<&str> = reference.split(' ').collect();
            let hits = sample
                .response
                .split(' ')
                .filter(|word| words.contains(word))
                .count();
            Ok(vec![hits as f64, words.len() as f64])
        }

        fn score(&self, statistics: &[f64], _: Level) -> Result<Score, Error> {
            Ok(Score::new(statistics[0] / statistics[1]).component("one", 1.0))
        }
    }

    fn check(cases: &str, expected: &[&str]) {
        let folder = std::env::temp_dir().join(format!("rlhf-sdk-testing-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("cases.jsonl");
        fs::write(&path, cases).unwrap();
        let found = match compare_metric::<Additive<Words>>(&path) {
            Ok(differences) => differences,
            Err(error) => vec![error],
        };
        fs::remove_dir_all(&folder).unwrap();
        let prefix = path.display().to_string();
        let found: Vec<String> = found
            .iter()
            .map(|line| line.replace(&prefix, "F"))
            .collect();
        assert_eq!(found, expected);
    }

    // Catches a harness that compares nothing and passes.
    #[test]
    fn differences_are_found_and_named() {
        let header = r#"{"origin": "by hand", "tolerance": 1e-9}"#;
        check(header, &["F: expected golden cases, found none"]);
        check(
            &format!(
                "{header}\n{}\n{}\n{}\n{}",
                r#"{"id": "a", "response": "x y", "references": ["x z"], "expected": {"value": 0.5, "components": {"one": 1}}}"#,
                r#"{"id": "b", "response": "x y z w", "references": ["x y z w"], "expected": {"value": 1}}"#,
                r#"{"id": "c", "response": "x", "expected": {"error": "no-reference"}}"#,
                // 5 of 6 words; the mean of the two samples is 3/4.
                r#"{"corpus": {"value": 0.8333333333333334}}"#,
            ),
            &[],
        );
        check(
            &format!(
                "{header}\n{}\n{}\n{}\n{}",
                r#"{"id": "a", "response": "x y", "references": ["x z"], "expected": {"value": 0.4, "components": {"one": 2, "two": 0}}}"#,
                r#"{"id": "b", "response": "x", "references": ["x"], "expected": {"value": 1.0}}"#,
                r#"{"id": "c", "response": "x", "expected": {"value": 1.0}}"#,
                r#"{"corpus": {"value": 0.75}}"#,
            ),
            &[
                "F:2 a: value: expected 0.4 ± 0.000000001, found 0.5",
                "F:2 a: one: expected 2 ± 0.000000001, found 1",
                "F:2 a: two: expected 0, found nothing",
                "F:4 c: expected value 1, found error `no-reference`: expected a reference, found none",
                "F:5 corpus: expected value 0.75, found error `no-reference`: expected a reference, found none",
            ],
        );
    }
}
