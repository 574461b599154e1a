//! Checks of metrics.

use std::path::Path;

use serde::Deserialize;

use super::{
    About, Check, Checking, Material, description, is_trouble, odd_texts, options_are_checked,
};
use crate::plugin::metric::{Aggregation, Score};
use crate::plugin::{Component, Error, Failure, Metric, Sample, Services, Spec};

/// Lengths of samples that take long.
const LONG_BYTES: [usize; 4] = [1 << 10, 4 << 10, 32 << 10, 256 << 10];
/// Models' responses are seldom longer.
const ORDINARY_BYTES_MAX: usize = 4 << 10;

pub(super) fn checks(
    component: Component,
    spec: &Spec,
    services: &Services,
    material: &Material,
) -> Result<(String, Vec<Check>), Error> {
    let metric = Metric::of(component.clone(), spec, services)?;
    let about = metric.descriptor();
    let mut samples = odd_samples(&about.needs);
    if let Some(only) = &material.only {
        samples.retain(|sample| sample.id == *only);
    }
    let again = metric
        .describe_unconfigured()
        .map(|about| (about.name, about.version));
    let mut checks = vec![description(
        &About {
            name: &about.name,
            version: &about.version,
            summary: &about.summary,
        },
        again,
    )];
    checks.push(options_are_checked(
        |spec| Metric::of(component.clone(), spec, services),
        spec,
    ));
    let scores = one_by_one(&metric, &samples);
    checks.push(odd(&samples, &scores));
    checks.push(repeated(&component, spec, services, &samples, &scores)?);
    if about.aggregation == Aggregation::Additive {
        checks.push(batches(&metric, &samples, &scores));
        checks.push(adds(&metric, &samples));
    }
    if material.only.is_none() {
        checks.push(long(&metric));
    }
    if let Some(path) = &material.cases {
        checks.push(golden(&component, spec, services, path, material)?);
    }
    Ok((metric.name().to_owned(), checks))
}

/// Odd texts as responses and as references, in several languages.
fn odd_samples(needs: &[String]) -> Vec<Sample> {
    let fill = |field: &str, sample: &mut Sample| match field {
        "prompt" => sample.prompt = "Write a function.".into(),
        "tests" => sample.tests = vec!["assert True".into()],
        "language" => sample.language = "python".into(),
        _ => {}
    };
    let texts = odd_texts();
    let mut samples = Vec::new();
    for (at, (name, text)) in texts.iter().enumerate() {
        // Each text as a response, as a reference, and against itself.
        let other = &texts[(at + 3) % texts.len()].1;
        for (role, response, reference) in [
            ("response", text, other),
            ("reference", other, text),
            ("both", text, text),
        ] {
            samples.push(Sample {
                id: format!("{name}, {role}"),
                response: response.clone(),
                references: vec![reference.clone()],
                language: "python".into(),
                ..Sample::default()
            });
        }
    }
    samples.push(Sample {
        id: "many references".into(),
        response: "return 1".into(),
        references: (0..50).map(|at| format!("return {at}")).collect(),
        language: "python".into(),
        ..Sample::default()
    });
    samples.push(Sample {
        id: "unknown language".into(),
        response: "return 1".into(),
        references: vec!["return 2".into()],
        language: super::UNKNOWN_LANGUAGE.into(),
        ..Sample::default()
    });
    for sample in &mut samples {
        for need in needs {
            fill(need, sample);
        }
    }
    // What a metric says it needs is there, or the host doesn't call it.
    if !needs.iter().any(|need| need == "references") {
        samples.push(Sample {
            id: "no references".into(),
            response: "return 1".into(),
            language: "python".into(),
            ..Sample::default()
        });
    }
    samples
}

fn given(sample: &Sample) -> String {
    format!(
        "response `{}`, references {}, language `{}`",
        sample.response,
        sample
            .references
            .iter()
            .take(3)
            .map(|reference| format!("`{reference}`"))
            .collect::<Vec<_>>()
            .join(", "),
        sample.language
    )
}

type Scores = Vec<Result<Score, Failure>>;

fn score(metric: &Metric, samples: &[Sample]) -> Scores {
    if metric.descriptor().aggregation == Aggregation::Whole {
        return samples
            .iter()
            .map(|sample| metric.score_whole(std::slice::from_ref(sample)))
            .collect();
    }
    metric
        .measure(samples)
        .into_iter()
        .map(|measured| {
            metric
                .score_samples(&[measured?])
                .pop()
                .expect("one vector has one score")
        })
        .collect()
}

fn one_by_one(metric: &Metric, samples: &[Sample]) -> Scores {
    samples
        .iter()
        .flat_map(|sample| score(metric, std::slice::from_ref(sample)))
        .collect()
}

/// Every sample has a score in the announced range, or an error that says why not.
fn odd(samples: &[Sample], scores: &Scores) -> Check {
    let mut check = Checking::new("odd samples are scored, or refused with a reason");
    let mut refused = 0;
    check.cases = samples.iter().map(|sample| sample.id.clone()).collect();
    for (sample, score) in samples.iter().zip(scores) {
        match score {
            Ok(_) => {}
            Err(failure) if is_trouble(failure) => {
                check.problem(&sample.id, &given(sample), failure.to_string());
            }
            Err(_) => refused += 1,
        }
    }
    check.note = format!("{} samples, {refused} refused", samples.len());
    if refused == samples.len() && !samples.is_empty() {
        let reason = scores[0].as_ref().err().map(ToString::to_string);
        check.problem(
            &samples[0].id,
            &given(&samples[0]),
            format!(
                "expected a score for at least one sample, found only errors: {}",
                reason.unwrap_or_default()
            ),
        );
    }
    check.done()
}

fn same(a: &Result<Score, Failure>, b: &Result<Score, Failure>) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => {
            a.value.to_bits() == b.value.to_bits()
                && a.components
                    .iter()
                    .map(|value| value.to_bits())
                    .eq(b.components.iter().map(|value| value.to_bits()))
        }
        (Err(a), Err(b)) => a.kind() == b.kind(),
        _ => false,
    }
}

fn shown(score: &Result<Score, Failure>) -> String {
    match score {
        Ok(score) => format!("{} {:?}", score.value, score.components),
        Err(failure) => failure.to_string(),
    }
}

fn compare(
    check: &mut Checking,
    samples: &[Sample],
    first: &Scores,
    second: impl Iterator<Item = Result<Score, Failure>>,
) {
    for ((sample, first), second) in samples.iter().zip(first).zip(second) {
        if !same(first, &second) {
            check.problem(
                &sample.id,
                &given(sample),
                format!("expected {} again, found {}", shown(first), shown(&second)),
            );
        }
    }
}

/// A second run, from a component loaded anew, gives the same bits.
fn repeated(
    component: &Component,
    spec: &Spec,
    services: &Services,
    samples: &[Sample],
    scores: &Scores,
) -> Result<Check, Error> {
    let mut check = Checking::new("a second run gives the same scores");
    let metric = Metric::of(component.clone(), spec, services)?;
    compare(
        &mut check,
        samples,
        scores,
        one_by_one(&metric, samples).into_iter(),
    );
    Ok(check.done())
}

/// A sample's score doesn't depend on its neighbours, their order or their number.
fn batches(metric: &Metric, samples: &[Sample], scores: &Scores) -> Check {
    let mut check = Checking::new("batches of any size and order give the same scores");
    compare(
        &mut check,
        samples,
        scores,
        score(metric, samples).into_iter(),
    );
    let backwards: Vec<Sample> = samples.iter().rev().cloned().collect();
    compare(
        &mut check,
        samples,
        scores,
        score(metric, &backwards).into_iter().rev(),
    );
    check.done()
}

/// Sums of statistics are statistics: they can be scored, in any order of adding.
fn adds(metric: &Metric, samples: &[Sample]) -> Check {
    let mut check = Checking::new("statistics add up");
    let vectors: Vec<Vec<f64>> = metric
        .measure(samples)
        .into_iter()
        .filter_map(Result::ok)
        .collect();
    let sum = |vectors: &mut dyn Iterator<Item = &Vec<f64>>| {
        let mut sum = vec![0.0; metric.descriptor().statistics_length];
        for vector in vectors {
            for (total, value) in sum.iter_mut().zip(vector) {
                *total += value;
            }
        }
        sum
    };
    let forwards = sum(&mut vectors.iter());
    let backwards = sum(&mut vectors.iter().rev());
    let halves = sum(&mut vectors.iter().step_by(2));
    let single = vectors.first().cloned();
    let sums: Vec<(&str, Vec<f64>)> = [
        ("all", Some(forwards)),
        ("all, backwards", Some(backwards)),
        ("every other", Some(halves)),
        ("one sample", single),
    ]
    .into_iter()
    .filter_map(|(name, sum)| Some((name, sum?)))
    .collect();
    if vectors.is_empty() {
        check.note = "no sample was measured".into();
        return check.done();
    }
    check.note = format!("{} samples", vectors.len());
    let scores: Scores = sums
        .iter()
        .flat_map(|(_, sum)| metric.score_corpora(std::slice::from_ref(sum)))
        .collect();
    for ((name, sum), score) in sums.iter().zip(&scores) {
        if let Err(failure) = score {
            check.problem(name, &format!("statistics {sum:?}"), failure.to_string());
        }
    }
    // Adding rounds: the last digits may differ, the score may not jump.
    if let (Ok(forwards), Ok(backwards)) = (&scores[0], &scores[1])
        && (forwards.value - backwards.value).abs() > 1e-9 * forwards.value.abs().max(1.0)
    {
        check.problem(
            "all, backwards",
            "",
            format!(
                "expected {} whatever the order of adding, found {}",
                forwards.value, backwards.value
            ),
        );
    }
    check.done()
}

/// Long samples end: with a score, a reason, or in a limit. A limit that a
/// sample of ordinary length runs into is a problem.
fn long(metric: &Metric) -> Check {
    let mut check = Checking::new("long samples end within the limits");
    let mut notes = Vec::new();
    for bytes in LONG_BYTES {
        let line = "value = compute(value, 1)\n";
        let text = line.repeat(bytes / line.len() + 1);
        let sample = Sample {
            id: format!("{bytes} bytes"),
            prompt: "Write a program.".into(),
            // Not the reference itself, which many a metric has a short way for.
            response: text.replace("value", "number"),
            references: vec![text],
            language: "python".into(),
            tests: vec!["assert True".into()],
        };
        let before = metric.used().fuel;
        let scored = score(metric, std::slice::from_ref(&sample)).pop();
        match scored.expect("one sample has one score") {
            Err(failure) if is_trouble(&failure) => {
                let is_limit = failure.kind().starts_with("out-of-");
                if !is_limit || bytes <= ORDINARY_BYTES_MAX {
                    check.problem(&sample.id, &given(&sample), failure.to_string());
                }
                notes.push(format!("{} KiB {}", bytes >> 10, failure.kind()));
                // Longer ones would only take longer to say so.
                break;
            }
            _ => {
                let fuel = metric.used().fuel - before;
                notes.push(format!("{} KiB fuel {fuel}", bytes >> 10));
            }
        }
    }
    check.note = notes.join(", ");
    check.done()
}

/// A line of golden cases, as `rlhf_sdk::testing` reads them.
#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    id: String,
    #[serde(default)]
    prompt: String,
    #[serde(default)]
    response: String,
    #[serde(default)]
    references: Vec<String>,
    #[serde(default)]
    language: String,
    #[serde(default)]
    tests: Vec<String>,
    options: Option<serde_json::Map<String, serde_json::Value>>,
    tolerance: Option<f64>,
    expected: Option<Expected>,
    corpus: Option<Expected>,
    /// Only headers have it.
    origin: Option<String>,
}

#[derive(Deserialize)]
struct Expected {
    value: Option<f64>,
    #[serde(default)]
    components: serde_json::Map<String, serde_json::Value>,
    error: Option<String>,
}

/// The author's golden cases, through the component.
fn golden(
    component: &Component,
    spec: &Spec,
    services: &Services,
    path: &Path,
    material: &Material,
) -> Result<Check, Error> {
    let mut check = Checking::new("golden cases");
    let unreadable = |problem: String| super::unusable(path, problem);
    let text = std::fs::read_to_string(path)
        .map_err(|error| unreadable(format!("cannot read it: {error}")))?;
    let names = &Metric::of(component.clone(), spec, services)?
        .descriptor()
        .components
        .clone();
    let (mut header_options, mut header_tolerance) = (serde_json::Map::new(), 0.0);
    let mut corpus: Vec<Sample> = Vec::new();
    let mut cases = 0;
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let case: Case = serde_json::from_str(line)
            .map_err(|error| unreadable(format!("line {}: {error}", at + 1)))?;
        if case.origin.is_some() {
            header_options = case.options.unwrap_or_default();
            header_tolerance = case.tolerance.unwrap_or(0.0);
            corpus.clear();
            continue;
        }
        let tolerance = case.tolerance.unwrap_or(header_tolerance);
        let options = case.options.as_ref().unwrap_or(&header_options);
        let with_options = Spec {
            config: serde_json::Value::Object(options.clone()).to_string(),
            ..spec.clone()
        };
        // Options may be what a case is about: their refusal is an answer, too.
        let metric = match Metric::of(component.clone(), &with_options, services) {
            Err(Error::Call { failure, .. }) => Err(failure),
            other => Ok(other?),
        };
        let name = if case.id.is_empty() {
            format!("line {}", at + 1)
        } else {
            case.id.clone()
        };
        let (expected, found) = if let Some(expected) = case.corpus {
            let found = metric.and_then(|metric| score_corpus(&metric, &corpus));
            (expected, found)
        } else if let Some(expected) = case.expected {
            let sample = Sample {
                id: name.clone(),
                prompt: case.prompt,
                response: case.response,
                references: case.references,
                language: case.language,
                tests: case.tests,
            };
            let found = metric.and_then(|metric| {
                let mut scores = score(&metric, std::slice::from_ref(&sample));
                scores.pop().expect("one sample has one score")
            });
            if found.is_ok() {
                corpus.push(sample);
            }
            (expected, found)
        } else {
            return Err(unreadable(format!(
                "line {}: neither `expected` nor `corpus`",
                at + 1
            )));
        };
        if material.only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        cases += 1;
        check.cases.push(name.clone());
        if let Err(message) = expected.compare(names, &found, tolerance) {
            check.problem(
                &name,
                &format!("{}, line {}", path.display(), at + 1),
                message,
            );
        }
    }
    check.note = format!("{cases} cases");
    Ok(check.done())
}

fn score_corpus(metric: &Metric, samples: &[Sample]) -> Result<Score, Failure> {
    if metric.descriptor().aggregation == Aggregation::Whole {
        return metric.score_whole(samples);
    }
    let mut sum = vec![0.0; metric.descriptor().statistics_length];
    for measured in metric.measure(samples) {
        for (total, value) in sum.iter_mut().zip(measured?) {
            *total += value;
        }
    }
    metric
        .score_corpora(&[sum])
        .pop()
        .expect("one sum has one score")
}

impl Expected {
    fn compare(
        &self,
        names: &[String],
        found: &Result<Score, Failure>,
        tolerance: f64,
    ) -> Result<(), String> {
        let differ = |what: &str, expected: f64, found: f64| {
            let near = expected == found || (expected - found).abs() <= tolerance;
            if near {
                Ok(())
            } else {
                Err(format!(
                    "{what}: expected {expected} ± {tolerance}, found {found}"
                ))
            }
        };
        match (found, self.value, &self.error) {
            (Ok(score), Some(value), None) => {
                differ("value", value, score.value)?;
                for (name, expected) in &self.components {
                    let at = names.iter().position(|known| known == name);
                    let found = at.map(|at| score.components[at]);
                    let (Some(found), Some(expected)) = (found, expected.as_f64()) else {
                        return Err(format!(
                            "component `{name}`: expected {expected}, found none"
                        ));
                    };
                    differ(name, expected, found)?;
                }
                Ok(())
            }
            (Err(Failure::Plugin { code, .. }), None, Some(expected)) if code == expected => Ok(()),
            (found, value, error) => Err(format!(
                "expected {}, found {}",
                match (value, error) {
                    (Some(value), _) => value.to_string(),
                    (None, Some(error)) => format!("error `{error}`"),
                    (None, None) => "nothing".into(),
                },
                shown(found)
            )),
        }
    }
}
