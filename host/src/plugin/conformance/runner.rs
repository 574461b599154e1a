//! Checks of code runners.

use super::{
    About, Check, Checking, Material, description, is_trouble, odd_texts, options_are_checked,
};
use crate::plugin::code_runner::Outcome;
use crate::plugin::host::Candidate;
use crate::plugin::value::Value;
use crate::plugin::{CodeRunner, Component, Error, Failure, Services, Spec};

/// What a runner may say ended a program.
const KINDS: [&str; 6] = [
    "finished",
    "exception",
    "exit",
    "syntax-error",
    "out-of-memory",
    "out-of-output",
];

pub(super) fn checks(
    component: Component,
    spec: &Spec,
    services: &Services,
    material: &Material,
) -> Result<(String, Vec<Check>), Error> {
    let runner = CodeRunner::of(component.clone(), spec, services)?;
    let about = runner.descriptor();
    let second = CodeRunner::of(component.clone(), spec, services)?;
    let again = second.descriptor();
    let checks = vec![
        description(
            &About {
                name: &about.name,
                version: &about.version,
                summary: &about.summary,
            },
            Ok((again.name.clone(), again.version.clone())),
        ),
        options_are_checked(
            |spec| CodeRunner::of(component.clone(), spec, services),
            spec,
        ),
        languages(&runner),
        programs(&runner, material),
        functions(&runner),
        judges(&runner, material),
    ];
    Ok((about.name.clone(), checks))
}

/// A language that it doesn't run is refused by name.
fn languages(runner: &CodeRunner) -> Check {
    let mut check = Checking::new("other languages are refused");
    for (what, refused) in [
        ("check", runner.check("klingon", "").err()),
        ("load", runner.program("klingon", "").err()),
    ] {
        match refused {
            Some(Failure::Plugin { code, .. }) if code == "unsupported-language" => {}
            Some(other) => check.problem(
                what,
                "klingon",
                format!("expected the error `unsupported-language`, found {other}"),
            ),
            None => check.problem(
                what,
                "klingon",
                "expected the error `unsupported-language`, found none",
            ),
        }
    }
    check.done()
}

/// Odd programs end in an outcome, the same one and with the same fuel twice.
fn programs(runner: &CodeRunner, material: &Material) -> Check {
    let mut check = Checking::new("odd programs end in an outcome, the same one twice");
    let mut count = 0;
    for (language, _) in &runner.descriptor().languages {
        for (name, source) in odd_texts() {
            if material.only.as_ref().is_some_and(|only| only != name) {
                continue;
            }
            count += 1;
            check.cases.push(name.to_owned());
            if let Err(failure) = runner.check(language, &source)
                && is_trouble(&failure)
                && !is_limit(failure.kind())
            {
                check.problem(name, &source, format!("check: {failure}"));
            }
            let first = runner.execute(language, &source, b"1 2 3\n");
            let second = runner.execute(language, &source, b"1 2 3\n");
            let kind = first.outcome.kind.as_str();
            if kind == "trap" || kind == "bad-result" {
                check.problem(name, &source, first.outcome.detail.clone());
            } else if !KINDS.contains(&kind) && !is_limit(kind) && kind != "unsupported-language" {
                check.problem(
                    name,
                    &source,
                    format!(
                        "expected one of {}, found the outcome `{kind}`",
                        KINDS.join(", ")
                    ),
                );
            }
            if first != second {
                check.problem(
                    name,
                    &source,
                    format!(
                        "expected the same outcome and fuel twice, found `{}` with {} and `{}` with {}",
                        first.outcome.kind, first.fuel, second.outcome.kind, second.fuel
                    ),
                );
            }
        }
    }
    check.note = format!("{count} programs");
    check.done()
}

/// Limits are the host's to set: running into one is an outcome.
fn is_limit(kind: &str) -> bool {
    matches!(
        kind,
        "out-of-fuel" | "out-of-time" | "out-of-memory" | "out-of-table" | "stack"
    )
}

/// A function that isn't there is an outcome, whatever the arguments.
fn functions(runner: &CodeRunner) -> Check {
    let mut check = Checking::new("calls of functions that are not there are refused");
    for (language, _) in &runner.descriptor().languages {
        let arguments = vec![
            Value::None,
            Value::Integer("-12345678901234567890".into()),
            Value::Float(f64::NAN.to_bits()),
            Value::List(vec![Value::Tuple(vec![Value::Text("漢".into())])]),
        ];
        let called = match runner.program(language, "") {
            Ok(mut program) => program.call("no_such_function", arguments),
            // An empty program may be none in this language.
            Err(failure) if !is_trouble(&failure) => continue,
            Err(failure) => {
                check.problem("empty program", language, failure.to_string());
                continue;
            }
        };
        match called {
            Err(Outcome { kind, .. }) if kind == "exception" || kind == "syntax-error" => {}
            Err(Outcome { kind, detail, .. }) => check.problem(
                language,
                "no_such_function",
                format!("expected an exception, found `{kind}`: {detail}"),
            ),
            Ok(value) => check.problem(
                language,
                "no_such_function",
                format!("expected an exception, found the value {value:?}"),
            ),
        }
    }
    check.done()
}

/// Without a candidate odd tests end in an outcome, the same one twice; a
/// language that it doesn't run is never passed.
fn judges(runner: &CodeRunner, material: &Material) -> Check {
    let mut check = Checking::new("a judge ends in an outcome, the same one twice");
    let mut count = 0;
    let judged = |language: &str, prompt: &str, test: &str| match runner.judge(Nobody) {
        Ok(mut judge) => [(); 2].map(|()| judge.judge(language, prompt, test).outcome),
        Err(failure) => [(); 2].map(|()| Outcome {
            kind: failure.kind().to_owned(),
            detail: failure.to_string(),
            ..Outcome::default()
        }),
    };
    for (language, _) in &runner.descriptor().languages {
        for (name, text) in odd_texts() {
            if material.only.as_ref().is_some_and(|only| only != name) {
                continue;
            }
            count += 1;
            check.cases.push(name.to_owned());
            for (prompt, test) in [(text.as_str(), ""), ("", text.as_str())] {
                let [first, second] = judged(language, prompt, test);
                let kind = first.kind.as_str();
                if kind == "trap" || kind == "bad-result" {
                    check.problem(name, &text, first.detail.clone());
                } else if is_limit(kind) {
                    // The instance is gone: there is no second time.
                    continue;
                } else if kind != "cannot-judge" && !KINDS.contains(&kind) {
                    check.problem(
                        name,
                        &text,
                        format!(
                            "expected `cannot-judge` or one of {}, found the outcome `{kind}`",
                            KINDS.join(", ")
                        ),
                    );
                }
                if first != second {
                    check.problem(
                        name,
                        &text,
                        format!(
                            "expected the same outcome twice in one instance, found `{}` and `{}`",
                            first.kind, second.kind
                        ),
                    );
                }
            }
        }
    }
    let [other, _] = judged("klingon", "", "");
    if other.kind == "finished" {
        check.problem(
            "another language",
            "klingon",
            "expected `cannot-judge` or `unsupported-language`, found `finished`",
        );
    }
    check.note = format!("{count} tests");
    check.done()
}

/// A candidate that defines nothing.
struct Nobody;

impl Candidate for Nobody {
    fn call(&mut self, function: &str, _: Vec<Value>) -> Result<Value, Value> {
        Err(Value::exception(
            "NameError",
            &format!("name '{function}' is not defined"),
        ))
    }
}
