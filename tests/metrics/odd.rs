//! What do the shipped metrics make of texts that nobody had in mind?
//!
//! Every metric gets empty, blank, broken, deep and huge texts as component, and answers each with a
//! number in its range or with a reason: no trap, no NaN, the same for any batch and any number
//! of workers. Texts that a component can't finish within a sample's fuel cost that sample, and
//! only where they are said to ([`fuel_may_end`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rlhf::config::Device;
use rlhf::evaluate;
use rlhf::pipeline::TokenEncoder;
use rlhf::plugin::code_runner::Outcome;
use rlhf::plugin::grants::Grant;
use rlhf::plugin::host::Sandbox;
use rlhf::plugin::host::sandbox::{Refusal, Verdict};
use rlhf::plugin::{Component, Failure, Metric, Runtime, Sample, Services, Spec};
use rlhf_test_support::component;
use serde_json::Value;
use xtask::workspace::target_dir;

use super::lines;

/// The shipped metrics with options that change what is done to a text.
const METRICS: &[(&str, &[&str])] = &[
    (
        "metric-bleu",
        &[
            "{}",
            r#"{"smoothing": "method0"}"#,
            r#"{"smoothing": "method4"}"#,
            r#"{"variant": "sacrebleu"}"#,
        ],
    ),
    ("metric-bertscore", &["{}", r#"{"idf": true}"#]),
    (
        "metric-chrf",
        &["{}", r#"{"word_order": 2, "lowercase": true}"#],
    ),
    ("metric-codebleu", &["{}", r#"{"mode": "strict"}"#]),
    (
        "metric-edit-similarity",
        &["{}", r#"{"variant": "codexglue"}"#],
    ),
    ("metric-exact-match", &["{}", r#"{"compare": "tokens"}"#]),
    (
        "metric-rouge",
        &["{}", r#"{"variant": "rougeLsum", "mode": "strict"}"#],
    ),
    (
        "metric-ruby",
        &["{}", r#"{"compat": "seed", "details": true}"#],
    ),
    ("metric-ruby-paper", &["{}", r#"{"level": "tree"}"#]),
    ("metric-unit-tests", &["{}"]),
];

/// Languages whose parsers metrics have.
const LANGUAGES: [&str; 10] = [
    "python",
    "java",
    "javascript",
    "go",
    "c",
    "cpp",
    "c_sharp",
    "php",
    "ruby",
    "rust",
];

/// Reasons that a metric may give for having no score.
const REASONS: [&str; 4] = [
    // codebleu: loops nest too deep to follow their data flow.
    "too-complex",
    // bertscore: no token of the text has a weight.
    "no-weight",
    // Metrics of Python alone.
    "unsupported-language",
    // ruby-paper, where one similarity is asked for that a broken text doesn't have.
    "not-computable",
];

/// Answers at once: what programs do in a real sandbox is `tests/hostile`'s question.
struct Obliging;

impl Sandbox for Obliging {
    fn check(&self, _language: &str, source: &str) -> Result<(), Refusal> {
        let refusal = || Refusal {
            code: "syntax-error".into(),
            message: "source code cannot contain null bytes".into(),
        };
        source
            .bytes()
            .all(|byte| byte != 0)
            .then_some(())
            .ok_or_else(refusal)
    }

    fn execute(&self, _: &str, _: &str, _: &[u8]) -> Result<Outcome, Refusal> {
        Ok(Outcome {
            kind: "finished".into(),
            ..Outcome::default()
        })
    }

    fn judge(&self, _: &str, _: &str, source: &str, tests: &[String]) -> Result<Verdict, Refusal> {
        let total = u32::try_from(tests.len()).expect("a few");
        Ok(Verdict {
            total,
            passed: total.min(u32::from(source.len().is_multiple_of(2))),
            ..Verdict::default()
        })
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A metric with all that it may ask for.
fn load(package: &str, options: &str, workers: usize) -> Metric {
    let cache = target_dir().expect("there is one").join("test-cache");
    let runtime = Runtime::new(Some(cache), workers).expect("the engine starts");
    let mut spec = Spec::of(&component(package).display().to_string());
    let grant = |name| Grant::parse(name).expect("a grant");
    spec.grants.extend([grant("encoder"), grant("sandbox")]);
    spec.config = options.to_owned();
    let model = root().join("tests/golden/models/tiny-roberta");
    let encoder = TokenEncoder::load(&model.display().to_string(), Some(2), Device::Cpu);
    let encoder = Arc::new(encoder.expect("the model loads"));
    let services = Services::new(Some(encoder), Some(Arc::new(Obliging)));
    let component = Component::find(&runtime, &spec).expect("it is built");
    Metric::of(component, &spec, &services).unwrap_or_else(|error| panic!("{error}"))
}

/// Texts by name, for any language.
fn texts() -> Vec<(String, String)> {
    let deep = |open: &str, close: &str, depth: usize| {
        format!("x = {}1{};", open.repeat(depth), close.repeat(depth))
    };
    let stairs = |line: &str, depth: usize| -> String {
        (0..depth)
            .map(|i| format!("{}{line}\n", " ".repeat(i)))
            .collect()
    };
    let texts = [
        ("empty", String::new()),
        ("blank", " \t\r\n\u{b}\u{c}".into()),
        (
            "other blanks",
            "\u{a0}\u{2028}\u{3000}\u{1c}\u{feff}\u{200b}".into(),
        ),
        ("NUL", "\0".into()),
        ("NUL in code", "x = '\0'\0; // \0\n# \0".into()),
        ("emoji", "def 😀(👩‍👩‍👧): return '🇩🇪' # e\u{301}\u{301}".into()),
        ("CRLF", "int f(int a) {\r\n\treturn a;\r\n}\r\n".into()),
        ("CR", "if a:\r  b\rc = 1\r".into()),
        ("tabs", "if a:\n\tif b:\n        c\n\t d = 1\n".into()),
        ("BOM", "\u{feff}x = 1;".into()),
        (
            "noncharacters",
            "x = '\u{fffe}\u{ffff}\u{10ffff}\u{e000}'".into(),
        ),
        ("controls", "\u{1}\u{1b}[2J\u{7f}\u{85}\u{9c} x".into()),
        ("open string", "s = '\"`\n\"\"\"\n'''\nR\"d(\nr#\"".into()),
        ("comment", "/* // # <!-- -- % \n".into()),
        (
            "markup",
            "```python\nx\n```\n<?php x ?> #include <a>\n".into(),
        ),
        ("halves", "def f(:\n  return )\n} else { case: end\n".into()),
        (
            "prose",
            "I'm sorry, but I can't do that. 1) a; 2) b?".into(),
        ),
        ("one letter", "a".into()),
        ("one digit", "0".into()),
        (
            "numbers",
            "0x 1e 1__0 08 1.2.3 0b2 .e5 1_ 'a'b 1if 2".into(),
        ),
        (
            "operators",
            "+ - * / % ** // << >> == != === => -> :: ?. ??= &&= ...".into(),
        ),
        ("line of 1 MB", "x".repeat(1 << 20)),
        ("string of 1 MB", format!("x = '{}';", "y".repeat(1 << 20))),
        ("blanks of 1 MB", " ".repeat(1 << 20)),
        ("256 Ki lines", "\n".repeat(1 << 18)),
        ("wide of 1 MB", "é".repeat(1 << 19)),
        ("words", "a b ".repeat(1 << 14)),
        ("deep (", deep("(", ")", 2_000)),
        ("deep [ open", deep("[", "", 2_000)),
        ("deep {", deep("{", "}", 2_000)),
        ("deep -", deep("-", "", 2_000)),
        ("deep call", deep("f(a, ", ")", 1_000)),
        ("deep if", stairs("if a:", 200)),
        ("deep while", stairs("while a:", 50)),
        (
            "deep braces",
            "if (a) { for (;;) { while (b) {\n".repeat(60),
        ),
        ("deep blocks", "if a\nwhile b\nuntil c\n".repeat(60)),
        ("heredocs", "<<~A <<-B <<C\n".repeat(100)),
        ("templates", "`${".repeat(300)),
        ("generics", "a<b<".repeat(300)),
    ];
    texts.map(|(name, text)| (name.to_owned(), text)).into()
}

/// A plain program in most languages.
const PLAIN: &str = "x = f(a, b);\n";

fn sample(id: String, response: &str, reference: &str, language: &str) -> Sample {
    Sample {
        id,
        prompt: "Do it.".into(),
        response: response.into(),
        references: vec![reference.into()],
        language: language.into(),
        tests: vec!["assert f()".into()],
    }
}

/// Whether a sample may run out of fuel: where it has this many bytes, and is no plain text.
///
/// Known and documented: tree-sitter takes time with the square of a text that is broken
/// throughout, and tables over two long texts have an area.
fn fuel_may_end(sample: &Sample) -> bool {
    let broken = sample.response.len() + sample.references.iter().map(String::len).sum::<usize>();
    broken > 64 << 10
}

/// What became of samples, comparably.
#[derive(Debug, PartialEq)]
struct Outcomes {
    per_sample: Vec<Result<Vec<f64>, Failure>>,
    corpus: Option<f64>,
}

/// The samples scored in blocks of so many.
fn outcomes(metric: &Metric, samples: &[Sample], block: usize) -> Outcomes {
    let mut scoring = evaluate::Scoring::new(metric);
    for samples in samples.chunks(block) {
        scoring.look_at(samples);
    }
    for samples in samples.chunks(block) {
        scoring.add(samples);
    }
    let scored = scoring.finish();
    let ids: Vec<&str> = samples.iter().map(|sample| sample.id.as_str()).collect();
    let rng = rlhf::random::Stream::new(1, rlhf::random::Purpose::Bootstrap, 0, 0);
    let corpus = evaluate::summarise(metric, &ids, &scored, 2, rng).corpus;
    let per_sample = scored.per_sample.into_iter().map(|score| {
        score.map(|score| {
            let mut numbers = vec![score.value];
            numbers.extend(score.components);
            numbers
        })
    });
    Outcomes {
        per_sample: per_sample.collect(),
        corpus,
    }
}

/// What is wrong with a sample's outcome, if anything.
fn fault(metric: &Metric, sample: &Sample, outcome: &Result<Vec<f64>, Failure>) -> Option<String> {
    let descriptor = metric.descriptor();
    match outcome {
        Ok(numbers) => {
            let range = descriptor.minimum..=descriptor.maximum;
            let fine =
                numbers.iter().all(|number| number.is_finite()) && range.contains(&numbers[0]);
            (!fine).then(|| format!("{numbers:?}"))
        }
        Err(Failure::Plugin { code, .. }) if REASONS.contains(&code.as_str()) => None,
        Err(Failure::OutOfFuel { .. }) if fuel_may_end(sample) => None,
        Err(failure) => Some(failure.to_string()),
    }
}

/// Numbers that agree: all their bits, but for those of a neural network, whose kernels sum in
/// another order where a batch has another shape.
fn agree(package: &str, a: &Outcomes, b: &Outcomes) -> bool {
    if package != "metric-bertscore" {
        return a == b;
    }
    let near = |a: &f64, b: &f64| (a - b).abs() <= 1e-6;
    let same = a
        .per_sample
        .iter()
        .zip(&b.per_sample)
        .all(|pair| match pair {
            (Ok(a), Ok(b)) => a.iter().zip(b).all(|(a, b)| near(a, b)),
            (a, b) => a == b,
        });
    same && a.per_sample.len() == b.per_sample.len()
}

/// Scores samples with a metric in one block, one by one, and by two workers in odd blocks.
fn check(package: &str, options: &str, samples: &[Sample]) {
    let what = format!("{package} {options}");
    let alone = load(package, options, 1);
    let together = outcomes(&alone, samples, samples.len());
    let faults: Vec<String> = samples
        .iter()
        .zip(&together.per_sample)
        .filter_map(|(sample, outcome)| {
            let fault = fault(&alone, sample, outcome)?;
            Some(format!("{}: {fault}", sample.id))
        })
        .collect();
    assert!(faults.is_empty(), "{what}:\n{}", faults.join("\n"));
    let scored = together
        .per_sample
        .iter()
        .filter(|score| score.is_ok())
        .count();
    assert!(scored > 0, "{what}: nothing was scored");
    let corpus = together.corpus.expect("a corpus value");
    assert!(corpus.is_finite(), "{what}: corpus {corpus}");

    let pair = load(package, options, 2);
    for (metric, block) in [(&alone, 1), (&pair, 13)] {
        let others = outcomes(metric, samples, block);
        if agree(package, &together, &others) {
            continue;
        }
        let differing = samples
            .iter()
            .zip(together.per_sample.iter().zip(&others.per_sample))
            .find(|(_, (a, b))| a != b)
            .map(|(sample, (a, b))| format!("{}: {a:?}, {b:?}", sample.id));
        panic!("{what}, blocks of {block}: {differing:?}");
    }
}

/// Metrics that look at code get the texts in every language, the others once.
fn languages(package: &str) -> &'static [&'static str] {
    match package {
        "metric-codebleu" | "metric-ruby-paper" => &LANGUAGES,
        _ => &LANGUAGES[..1],
    }
}

/// Above this many bytes a text is tried in one language, the next one's in another.
const LONG: usize = 16 << 10;

fn odd_samples(languages: &[&str]) -> Vec<Sample> {
    let texts = texts();
    let mut samples = Vec::new();
    for (at, (name, text)) in texts.iter().enumerate() {
        let other = &texts[(at + 7) % texts.len()].1;
        let long = text.len() > LONG;
        let languages = match long {
            true => std::slice::from_ref(&languages[at % languages.len()]),
            false => languages,
        };
        let mut pairs = vec![
            ("for a plain program", text.as_str(), PLAIN),
            ("expected", PLAIN, text),
            ("for itself", text, text),
        ];
        if long {
            // One of the three each, so that this takes seconds; `huge_texts` has the others.
            pairs = vec![pairs[at % 3]];
        } else if other.len() <= LONG {
            pairs.push(("for another", text, other));
        }
        for (how, response, reference) in pairs {
            for language in languages {
                let id = format!("{language}: {name} {how}");
                samples.push(sample(id, response, reference, language));
            }
        }
    }
    samples
}

/// Would catch a metric that no property is asked of.
#[test]
fn every_metric_is_tried() {
    let shipped = std::fs::read_dir(root().join("plugins")).expect("plugins lie there");
    let names = shipped.map(|entry| entry.expect("an entry").file_name());
    let mut shipped: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with("metric-"))
        .collect();
    shipped.sort();
    assert_eq!(TRIED, shipped);
}

/// Would catch a trap, a NaN, a value out of range, and an outcome that depends on the neighbours.
fn odd_texts(package: &str) {
    let samples = odd_samples(languages(package));
    for options in options(package) {
        check(package, options, &samples);
    }
}

/// The options that a metric is tried with.
fn options(package: &str) -> &'static [&'static str] {
    let mut metrics = METRICS.iter();
    let metric = metrics.find(|(name, _)| *name == package);
    metric.expect("it is in the list").1
}

macro_rules! metrics {
    ($($name:ident $package:literal)*) => {$(
        mod $name {
            #[test]
            fn odd_texts() {
                super::odd_texts($package);
            }

            #[test]
            #[ignore = "takes minutes: thousands of random texts"]
            fn random_texts() {
                super::random_texts($package);
            }

            #[test]
            #[ignore = "takes minutes: samples that use up their fuel"]
            fn huge_texts() {
                super::huge_texts($package);
            }
        }
    )*

    const TRIED: &[&str] = &[$($package),*];
    };
}

metrics! {
    bertscore "metric-bertscore"
    bleu "metric-bleu"
    chrf "metric-chrf"
    codebleu "metric-codebleu"
    edit_similarity "metric-edit-similarity"
    exact_match "metric-exact-match"
    rouge "metric-rouge"
    ruby "metric-ruby"
    ruby_paper "metric-ruby-paper"
    unit_tests "metric-unit-tests"
}

/// A linear congruential generator (Knuth's MMIX constants).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Programs by language, and pieces that mean something in them; `` for pieces of any.
struct Material {
    programs: BTreeMap<String, Vec<String>>,
    pieces: BTreeMap<String, Vec<String>>,
}

impl Material {
    fn read() -> Self {
        let folder = root().join("plugins/metric-codebleu");
        let mut programs = BTreeMap::<String, Vec<String>>::new();
        for file in ["humaneval.jsonl", "odd.jsonl", "languages.jsonl"] {
            for row in lines(&folder.join("golden").join(file)) {
                let language = row["lang"].as_str().unwrap_or("python");
                let text = row["reference"].as_str().expect("a text");
                programs
                    .entry(language.into())
                    .or_default()
                    .push(text.into());
            }
        }
        let pieces = std::fs::read_to_string(folder.join("tests/fragments.json"));
        let pieces: BTreeMap<String, Vec<String>> =
            serde_json::from_str(&pieces.expect("it is there")).expect("texts by language");
        Self { programs, pieces }
    }

    /// A text that is a program still, or not any more, or never was one.
    fn text(&self, language: &str, random: &mut Random) -> String {
        let piece = |random: &mut Random| -> String {
            let other = *random.pick(&LANGUAGES);
            let from = [language, "", other][random.below(3)];
            random.pick(&self.pieces[from]).clone()
        };
        let mut text: Vec<char> = match random.below(4) {
            0 => Vec::new(),
            _ => random.pick(&self.programs[language]).chars().collect(),
        };
        for _ in 0..random.below(12) {
            let at = random.below(text.len() + 1);
            let to = (at + random.below(40)).min(text.len());
            match random.below(6) {
                0 => drop(text.drain(at..to)),
                1 => {
                    let again = text[at..to].to_vec().repeat(1 + random.below(30));
                    text.splice(at..at, again);
                }
                2 => {
                    let again = piece(random).repeat(1 + random.below(60));
                    text.splice(at..at, again.chars());
                }
                3 => {
                    let any = char::from_u32(random.below(0x11_0000) as u32).unwrap_or('\u{fffd}');
                    text.insert(at, any);
                }
                _ => drop(text.splice(at..at, piece(random).chars())),
            }
        }
        text.into_iter().collect()
    }
}

/// Would catch what nobody thought of; `RLHF_ODD_SEED` chooses other texts than those of seed 1.
fn random_texts(package: &str) {
    const SAMPLES: usize = 2_000;
    let seed = std::env::var("RLHF_ODD_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let material = Material::read();
    let mut random = Random(seed);
    let samples: Vec<Sample> = (0..SAMPLES)
        .map(|at| {
            let language = *random.pick(languages(package));
            let response = material.text(language, &mut random);
            let references = 0..1 + random.below(3) / 2;
            let references: Vec<String> = references
                .map(|_| match random.below(3) {
                    0 => response.clone(),
                    _ => material.text(language, &mut random),
                })
                .collect();
            let text = Value::from(response.as_str());
            Sample {
                references,
                ..sample(format!("{at} {language} {text}"), &response, "", language)
            }
        })
        .collect();
    for options in options(package) {
        check(package, options, &samples);
    }
}

/// Would catch memory or a stack that grows with a text, in place of fuel that ends: two long
/// texts that have little in common, and broken ones. Each may cost its own sample.
fn huge_texts(package: &str) {
    let mut random = Random(1);
    let mut noise = |items: &[&str], bytes: usize| -> String {
        let mut text = String::new();
        while text.len() < bytes {
            text.push_str(items[random.below(items.len())]);
        }
        text
    };
    let words = [
        "a ", "b ", "return ", "x=", "(", ")\n", "'", "é ", "# ", "{", "}", ";",
    ];
    let letters = ["a", "b", "c", "d"];
    let pairs = [
        (noise(&words, 1 << 20), noise(&words, 1 << 20)),
        (noise(&letters, 1 << 20), noise(&letters, 1 << 20)),
        (noise(&words, 1 << 17), noise(&words, 1 << 17)),
        ("(".repeat(1 << 20), "[".repeat(1 << 20)),
        ("/* ' \" ` ".repeat(10_000), PLAIN.into()),
        ("a;\n".repeat(1 << 18), "b;\n".repeat(1 << 18)),
    ];
    let mut samples: Vec<Sample> = Vec::new();
    for (at, (response, reference)) in pairs.iter().enumerate() {
        // Of ten languages, three: such samples take seconds each.
        for language in languages(package).iter().take(3) {
            samples.push(sample(
                format!("{at} {language}"),
                response,
                reference,
                language,
            ));
        }
    }
    for (at, (name, text)) in texts()
        .iter()
        .enumerate()
        .filter(|(_, (_, text))| text.len() > LONG)
    {
        let languages = languages(package);
        let language = languages[at % languages.len()];
        for (response, reference) in [(text.as_str(), PLAIN), (PLAIN, text), (text, text)] {
            samples.push(sample(
                format!("{language} {name}"),
                response,
                reference,
                language,
            ));
        }
    }
    // One that is scored, so that there is a corpus.
    samples.push(sample("plain".into(), PLAIN, PLAIN, "python"));
    check(package, options(package)[0], &samples);
}
