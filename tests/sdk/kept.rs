//! Do components built against every version of the contract still load, and
//! still say what they said? Released versions have theirs in `kept/VERSION/`;
//! those of a draft are built now, from the same sources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rlhf::plugin::code_runner::Execution;
use rlhf::plugin::data_adapter::Content;
use rlhf::plugin::grants::Grant;
use rlhf::plugin::host::encoder::{Embeddings, Frequencies, Matching};
use rlhf::plugin::host::{Encoder, Sandbox};
use rlhf::plugin::reward_shaper::{Context, Reward, Rollout};
use rlhf::plugin::value::Value;
use rlhf::plugin::{
    CodeRunner, Component, DataAdapter, Failure, Metric, RewardShaper, Runtime, Sample, Services,
    Spec,
};
use rlhf::sandbox::{Policy, Pool};
use rlhf_test_support::Workspace;
use xtask::workspace::{root, target_dir};

type Paths = BTreeMap<String, PathBuf>;

/// The components of each version that there is something of, by kind.
fn versions() -> BTreeMap<String, Paths> {
    let folder = root().join("tests/sdk/kept");
    let mut versions = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).expect("the sources lie there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            let name = path.file_name().expect("it has one").to_string_lossy();
            let components = std::fs::read_dir(&path).expect("it can be read");
            let by_kind = components.map(|entry| {
                let path = entry.expect("it can be read").path();
                let kind = path.file_stem().expect("it has one").to_string_lossy();
                (kind.into_owned(), path.clone())
            });
            versions.insert(name.into_owned(), by_kind.collect());
        }
    }
    let kinds = ["metric", "reward-shaper", "data-adapter", "code-runner"].map(str::to_owned);
    let built = xtask::wit::kept::build(&folder, &kinds).expect("the sources compile");
    let out = target_dir().expect("there is one").join("guests/kept");
    std::fs::create_dir_all(&out).expect("it can be written");
    let draft = built
        .into_iter()
        .map(|(kind, bytes)| {
            let path = out.join(format!("{kind}.wasm"));
            std::fs::write(&path, bytes).expect("it can be written");
            (kind, path)
        })
        .collect();
    versions.insert("built now".into(), draft);
    versions
}

/// Similar is what has as many characters.
struct Lengths;

impl Encoder for Lengths {
    fn signature(&self) -> String {
        "model:lengths".into()
    }

    fn fit(
        &self,
        references: &[String],
        _: Option<&Frequencies>,
    ) -> Result<Arc<Frequencies>, String> {
        Ok(Arc::new(references.len()))
    }

    fn encode(&self, texts: &[String]) -> Result<Vec<Embeddings>, String> {
        let encode = |text: &String| Embeddings {
            tokens: text.chars().count() as u32,
            width: 1,
            held: Box::new(text.clone()),
        };
        Ok(texts.iter().map(encode).collect())
    }

    fn matches(
        &self,
        candidate: &Embeddings,
        reference: &Embeddings,
        frequencies: Option<&Frequencies>,
    ) -> Result<Matching, String> {
        assert!(frequencies.is_none(), "`fit` was not called");
        let (a, b) = (f64::from(candidate.tokens), f64::from(reference.tokens));
        let f1 = a.min(b) / a.max(b);
        Ok(Matching {
            precision: f1,
            recall: f1,
            f1,
        })
    }

    fn vectors(&self, embeddings: &Embeddings) -> Result<Vec<f32>, String> {
        Ok(vec![0.0; embeddings.tokens as usize])
    }
}

fn component(runtime: &Arc<Runtime>, path: &Path) -> Component {
    Component::load(runtime, path).unwrap_or_else(|error| panic!("{error}"))
}

fn granted(path: &Path, grant: &str) -> Spec {
    let mut spec = Spec::of(&path.display().to_string());
    spec.grants
        .insert(Grant::parse(grant).expect("it is a grant"));
    spec
}

/// Would catch a host that no longer serves a version it once released.
#[test]
fn components_of_every_version_work() {
    let workspace = Workspace::new();
    let runtime = Runtime::new(Some(workspace.join("cache")), 2).expect("the engine starts");
    for (version, paths) in versions() {
        println!("version: {version}");
        metric(&runtime, &paths["metric"]);
        shaper(&runtime, &paths["reward-shaper"], &paths["code-runner"]);
        adapter(&runtime, &paths["data-adapter"], &workspace);
        runner(&runtime, &paths["code-runner"]);
    }
}

fn metric(runtime: &Arc<Runtime>, path: &Path) {
    let spec = Spec {
        config: r#"{"similarity": true}"#.into(),
        ..granted(path, "encoder")
    };
    let services = Services::new(Some(Arc::new(Lengths)), None);
    let metric = Metric::of(component(runtime, path), &spec, &services)
        .unwrap_or_else(|error| panic!("{error}"));
    let sample = |response: &str, references: &[&str]| Sample {
        id: response.into(),
        response: response.into(),
        references: references.iter().map(|text| (*text).to_owned()).collect(),
        ..Sample::default()
    };
    let samples = [
        sample("abcd", &["ab", "abcd"]),
        sample("xyz", &["xy"]),
        sample("lonely", &[]),
    ];
    let measured = metric.measure(&samples);
    let scores: Vec<(f64, Vec<f64>)> = measured[..2]
        .iter()
        .map(|statistics| {
            let statistics = statistics.clone().expect("it is measured");
            let score = metric.score_samples(&[statistics]).remove(0);
            let score = score.expect("it is scored");
            (score.value, score.components)
        })
        .collect();
    assert_eq!(scores[0], (1.0, vec![4.0, 0.5]));
    assert_eq!(scores[1], (0.0, vec![3.0, 2.0 / 3.0]));
    match &measured[2] {
        Err(Failure::Plugin { code, .. }) => assert_eq!(code, "no-references"),
        other => panic!("{other:?}"),
    }
    // The same component, without the grant and with nothing behind it.
    let plain = Spec::of(&path.display().to_string());
    let refusal = |spec: &Spec, services: &Services| {
        let metric = Metric::of(component(runtime, path), spec, services);
        metric.err().expect("it is refused").to_string()
    };
    let text = refusal(&plain, &services);
    assert!(
        text.contains("rlhf:plugin/encoder@") && text.contains(",grant=encoder`"),
        "{text}"
    );
    let text = refusal(&spec, &Services::default());
    assert!(
        text.contains("was granted `encoder`, but this run has none"),
        "{text}"
    );
}

fn shaper(runtime: &Arc<Runtime>, path: &Path, runner: &Path) {
    let spec = Spec {
        config: r#"{"weight": 2}"#.into(),
        ..granted(path, "sandbox")
    };
    let runner = CodeRunner::load(runtime, &Spec::of(&runner.display().to_string()))
        .unwrap_or_else(|error| panic!("{error}"));
    let services = Services::new(None, Some(Arc::new(pool(runner))));
    let shaper = RewardShaper::of(component(runtime, path), &spec, &services)
        .unwrap_or_else(|error| panic!("{error}"));
    let rollout = |response: &str, language: &str, metrics: &[(&str, f64)]| Rollout {
        sample: Sample {
            id: response.into(),
            response: response.into(),
            language: language.into(),
            ..Sample::default()
        },
        tokens: vec!["a".into(), "b".into()],
        metrics: metrics
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect(),
        ..Rollout::default()
    };
    let context = Context {
        step: 3,
        steps_total: 10,
        ..Context::default()
    };
    let rewards = shaper.shape(
        &[
            rollout("plain", "", &[("kept", 0.25)]),
            rollout("no metric", "", &[]),
            rollout("compiles", "kept", &[("kept", 1.0)]),
            rollout("! does not", "kept", &[("kept", 1.0)]),
            rollout("no runner", "klingon", &[("kept", 1.0)]),
        ],
        &context,
    );
    let value = |scalar: f64| {
        Ok(Reward::Value {
            scalar,
            per_token: vec![0.5, 0.5],
            parts: vec![("steps-left".to_owned(), 7.0)],
        })
    };
    assert_eq!(rewards[0], value(0.5));
    assert_eq!(rewards[0].as_ref().ok().and_then(Reward::total), Some(1.5));
    assert_eq!(rewards[1], Ok(Reward::Abstain("no metric kept".into())));
    assert_eq!(rewards[2], value(2.0));
    let code = |reward: &Result<Reward, Failure>| match reward {
        Err(Failure::Plugin { code, .. }) => code.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(code(&rewards[3]), "syntax-error");
    assert_eq!(code(&rewards[4]), "unsupported-language");
}

fn adapter(runtime: &Arc<Runtime>, path: &Path, workspace: &Workspace) {
    let data = workspace.write(
        "granted/rows.kept",
        "p\tr\n@notes\np\tc\tr\nlonely\n@../secret\n",
    );
    workspace.write("granted/notes", "from a file");
    workspace.write("secret", "out of reach");
    let folder = workspace.join("granted");
    let spec = granted(path, &format!("folder:{}", folder.display()));
    let adapter = DataAdapter::of(component(runtime, path), &spec, &Services::default())
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(adapter.descriptor().extensions, ["kept"]);
    let mut rows = adapter
        .open(&data, serde_json::Map::new())
        .unwrap_or_else(|error| panic!("{error}"));
    let mut row = || rows.next().expect("there is a row");
    let demonstration = |prompt: &str, response: &str| Content::Demonstration {
        prompt: prompt.into(),
        response: response.into(),
    };
    let first = row().expect("reading goes on").expect("a good row");
    assert_eq!(first.content, demonstration("p", "r"));
    assert_eq!((first.origin.line, first.origin.row), (1, 1));
    assert_eq!(first.extra, [("bytes".to_owned(), "3".to_owned())]);
    let second = row().expect("reading goes on").expect("a good row");
    assert_eq!(second.content, demonstration("notes", "from a file"));
    let third = row().expect("reading goes on").expect("a good row");
    assert!(
        matches!(third.content, Content::Comparison { .. }),
        "{third:?}"
    );
    let fourth = row().expect("reading goes on").expect_err("a bad row");
    assert_eq!(
        (fourth.field.as_str(), fourth.message.as_str()),
        ("response", "expected 2 or 3 columns, found 1")
    );
    // What lies outside of the granted folder is out of reach.
    match row() {
        Err(Failure::Plugin { code, .. }) => assert_eq!(code, "cannot-read"),
        other => panic!("{other:?}"),
    }
}

fn runner(runtime: &Arc<Runtime>, path: &Path) {
    let runner = CodeRunner::load(runtime, &Spec::of(&path.display().to_string()))
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(runner.runs("kept") && !runner.runs("python"));
    let execution = runner.execute("kept", "hello ", b"there");
    assert_eq!(execution.outcome.kind, "finished");
    assert_eq!(execution.outcome.stdout, b"hello there");
    assert!(
        execution.fuel > 0 && execution.memory_bytes > 0,
        "{execution:?}"
    );
    assert_eq!(
        runner.execute("kept", "!", b"").outcome.kind,
        "syntax-error"
    );
    assert_eq!(
        runner.execute("klingon", "", b"").outcome.kind,
        "unsupported-language"
    );
    let program = |source: &str| {
        let program = runner.program("kept", source);
        program.unwrap_or_else(|failure| panic!("{failure}"))
    };
    let odd = Value::Dict(vec![(
        Value::Tuple(vec![
            Value::Integer("-9".into()),
            Value::Float(f64::NAN.to_bits()),
        ]),
        Value::List(vec![
            Value::None,
            Value::Bytes(vec![0, 255]),
            Value::Text("é".into()),
        ]),
    )]);
    let mut first = program("first");
    assert_eq!(first.call("echo", vec![odd.clone()]), Ok(odd.clone()));
    assert_eq!(
        first.call("program", vec![]),
        Ok(Value::Text("first".into()))
    );
    let missing = first.call("missing", vec![]).expect_err("there is none");
    assert_eq!(
        (missing.kind.as_str(), missing.exception.as_str()),
        ("exception", "NameError")
    );
    // A judge calls the candidate, which lives in another instance. Its
    // candidate is a program of the same language that has no candidate itself.
    let mut judge = program("judge").judging(program("candidate"));
    let raised = judge.call("candidate", vec![odd]).expect_err("it raises");
    assert_eq!(
        (raised.kind.as_str(), raised.exception.as_str()),
        ("exception", "RuntimeError"),
        "{raised:?}"
    );
    // A test that is code runs in the judge: several of them, one after another.
    let mut judge = runner
        .judge(program("candidate"))
        .unwrap_or_else(|failure| panic!("{failure}"));
    let mut judged = |language: &str, prompt: &str, test: &str| {
        let Execution { outcome, fuel, .. } = judge.judge(language, prompt, test);
        assert!(fuel > 0, "{outcome:?}");
        [outcome.kind, outcome.exception]
    };
    assert_eq!(judged("kept", "text", "echo"), ["finished", ""]);
    assert_eq!(
        judged("kept", "text", "program"),
        ["exception", "AssertionError"]
    );
    assert_eq!(
        judged("kept", "candidate", "program"),
        ["finished", ""],
        "an earlier failure has no part in it"
    );
    assert_eq!(judged("kept", "", "none"), ["exception", "NameError"]);
    assert_eq!(judged("kept", "", "!"), ["syntax-error", ""]);
    assert_eq!(judged("klingon", "", ""), ["unsupported-language", ""]);
    // Tests of input and output are judged by comparing, on the host.
    let sandbox = pool(runner);
    let tests = [
        r#"{"input": "b", "output": "ab"}"#.to_owned(),
        r#"{"input": "b", "output": "xx"}"#.to_owned(),
    ];
    let verdict = sandbox
        .judge("kept", "", "a", &tests)
        .expect("it can be judged");
    assert_eq!(
        (verdict.total, verdict.passed, verdict.failures.len()),
        (2, 1, 1)
    );
    // Tests that are code run in a judge beside the candidate.
    let tests = ["echo", "program", "!"].map(str::to_owned);
    let verdict = sandbox
        .judge("kept", "text", "candidate", &tests)
        .expect("it can be judged");
    assert_eq!(
        (verdict.total, verdict.passed, verdict.unguarded),
        (3, 1, 0),
        "{verdict:?}"
    );
    assert_eq!(verdict.failures.len(), 2, "{verdict:?}");
}

/// A runner's programs in a worker process, as a run has them.
fn pool(runner: CodeRunner) -> Pool {
    let spec = Spec::of(&runner.component().path.display().to_string());
    let program = env!("CARGO_BIN_EXE_rlhf").into();
    Pool::new(program, &[(runner, spec)], 1, Policy::Guarded)
        .unwrap_or_else(|error| panic!("{error}"))
}
