//! Does each command say and do the right thing? Exit code, stdout and stderr.

mod dist;
mod docs;
mod eval;
mod generate;
mod large;
mod on_policy;
mod plugins;
mod report;
mod reward;
mod seed;
mod shell;
mod tracking;

use rlhf_test_support::{Rlhf, Run, Workspace, component, guest, rlhf};

/// The plugin folder that `cargo xtask plugins` fills.
fn plugins() -> std::path::PathBuf {
    for package in [
        "metric-bertscore",
        "metric-bleu",
        "metric-codebleu",
        "metric-rouge",
        "metric-chrf",
        "metric-exact-match",
        "metric-edit-similarity",
        "metric-ruby",
        "metric-ruby-paper",
        "metric-unit-tests",
        "adapter-csv",
        "adapter-json",
        "adapter-parquet",
        "shaper-format",
        "shaper-length",
        "shaper-targets",
        "runner-python",
    ] {
        component(package);
    }
    let metric = component("metric-bleu");
    let folder = metric
        .ancestors()
        .nth(2)
        .expect("plugins/metrics/bleu.wasm");
    folder.to_owned()
}

fn call(workspace: &Workspace, arguments: &[&str]) -> Run {
    with_plugins(rlhf!(workspace)).args(arguments).run()
}

fn with_plugins(rlhf: Rlhf) -> Rlhf {
    rlhf.env("RLHF_PLUGIN_PATH", plugins())
        .env("HF_HUB_OFFLINE", "1")
}

/// Wrong input ends with code 2 (plugins: 3), one message and a hint, and leaves no folder behind.
fn check(workspace: &Workspace, arguments: &[&str], code: i32, expected: &str) {
    let run = call(workspace, arguments);
    let run = run.expect_code(code).expect_stderr(expected);
    assert!(
        [
            "hint: ",
            "tip: ",
            "did you mean",
            "expected",
            "try '--help'"
        ]
        .iter()
        .any(|help| run.stderr.contains(help)),
        "no hint: {}",
        run.stderr
    );
    assert!(
        !workspace.join("out").exists(),
        "work was begun: {arguments:?}"
    );
}

/// Would catch data errors that come late, or don't say where.
#[test]
fn wrong_data() {
    let workspace = Workspace::new();
    workspace.write(
        "rows.csv",
        "prompt,response,rating\nW,def f(): pass,1.0\n\"two\nlines\",y,good\nZ,q,2\n",
    );
    workspace.write("open.csv", "prompt,response\nW,\"def f():\n");
    workspace.write("other.csv", "a,b\n1,2\n");
    workspace.write(
        "rows.json",
        "[{\"prompt\": \"p\", \"chosen\": 3, \"rejected\": \"r\"}]",
    );
    workspace.write("empty.csv", "prompt,response\n");
    workspace.write("data.xlsx", "PAR1");
    let run = |file: &str, expected: &str| {
        check(
            &workspace,
            &[
                "--mode",
                "fast",
                "--output-dir",
                "out",
                "--train-data-path",
                file,
            ],
            2,
            expected,
        );
    };
    run(
        "missing.csv",
        "data file `missing.csv`: cannot open it: No such file",
    );
    run(
        "rows.csv",
        "`rows.csv`, line 3: `rating`: expected a number, found `good`",
    );
    run("open.csv", "`open.csv`, line 2");
    run(
        "other.csv",
        "data file `other.csv`: columns: found `a`, `b`; expected `prompt`",
    );
    run("rows.json", "`rows.json`, line 1: `chosen`");
    run("empty.csv", "`empty.csv`");
    run("data.xlsx", "no adapter reads `.xlsx` files");
    run(".", "is a folder");
}

/// Would catch a flag that passes unread.
#[test]
fn wrong_flags_and_configuration() {
    let workspace = Workspace::new();
    workspace.write("run.toml", "[dpo]\n\nbta = 0.2\n");
    let fast = |more: &[&str], expected: &str| {
        let mut arguments = vec!["--mode", "fast", "--output-dir", "out"];
        arguments.extend(more);
        check(&workspace, &arguments, 2, expected);
    };
    fast(
        &["--config", "run.toml"],
        "config `run.toml`, line 3: unknown key `dpo.bta`\nhint: did you mean `dpo.beta`?",
    );
    fast(
        &["--config", "none.toml"],
        "config `none.toml`: cannot read it",
    );
    fast(
        &["--learning-rate", "0"],
        "`training.learning_rate` is 0; expected a number above 0",
    );
    fast(
        &["--batch-size", "many"],
        "invalid value 'many' for '--batch-size",
    );
    fast(
        &["--lerning-rate", "1"],
        "a similar argument exists: '--learning-rate'",
    );
    fast(
        &["--device", "cuda"],
        "device `cuda`: this build of rlhf has no CUDA",
    );
    fast(&["--resume"], "`--resume auto`: `out` holds no run\nhint: ");
    check(
        &workspace,
        &["--mode", "quick"],
        2,
        "[possible values: research, production, fast]",
    );
}

/// Would catch a model that is missed only after an hour of work.
#[test]
fn wrong_models() {
    let workspace = Workspace::new();
    let golden =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/models/tiny-llama");
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        let bytes = std::fs::read(golden.join(file)).expect("the golden model lies there");
        workspace.write(format!("bare/{file}"), bytes);
    }
    let model = |name: &str, expected: &str| {
        let arguments = [
            "--mode",
            "fast",
            "--output-dir",
            "out",
            "--model-name",
            name,
        ];
        check(&workspace, &arguments, 2, expected);
    };
    model("bare", "weights");
    model("nowhere", "model `nowhere` is not a folder");
    model("owner/name", "huggingface/hub`, and HF_HUB_OFFLINE is set");
    model("builtin:huge", "no builtin model `huge`");
}

/// Would catch a file that is run although it is no plugin.
#[test]
fn wrong_plugins() {
    let workspace = Workspace::new();
    workspace.write("core.wasm", b"\0asm\x01\0\0\0");
    workspace.write("text.wasm", "hello");
    let plugin = |name: &str, expected: &str| {
        check(
            &workspace,
            &["--output-dir", "out", "--plugin", name],
            3,
            expected,
        );
    };
    plugin(
        "core.wasm",
        "plugin `core.wasm` is a core WebAssembly module, not a component",
    );
    plugin(
        "text.wasm",
        "plugin `text.wasm` is not a WebAssembly component",
    );
    plugin("none.wasm", "plugin `none.wasm` not found");
    let flag = ["--output-dir", "out", "--plugin", "codebleu,grant=files"];
    check(&workspace, &flag, 2, "unknown grant `files`");
    plugin("codebleu,config={\"weigths\":[1,0,0,0]}", "weigths");
}

/// Would catch an earlier run's results that are silently replaced.
#[test]
fn earlier_results_are_kept() {
    let workspace = Workspace::new();
    workspace.write("out/summary.json", "{}");
    call(&workspace, &["--mode", "fast", "--output-dir", "out"])
        .expect_code(2)
        .expect_stderr(
            "the output folder `out` holds an earlier run\nhint: name another with --output-dir",
        );
    assert_eq!(workspace.read("out/summary.json"), "{}");
    // A folder that nobody named moves aside by itself.
    workspace.write("runs/fast/summary.json", "{}");
    call(&workspace, &["--mode", "fast", "--dry-run"])
        .expect_code(0)
        .expect_stdout("output     runs/fast-2\n");
}

/// Would catch a folder that can't be written, or a disk that is too small, found out only when
/// the first results are there: before the model, which isn't there, is looked for.
#[test]
fn wrong_folders_and_disks() {
    let workspace = Workspace::new();
    workspace.write("file", "");
    let model = ["--model-name", "nowhere", "--output-dir", "file/out"];
    check(
        &workspace,
        &model,
        2,
        "the output folder `file/out` can't be written: `file` is no folder\nhint: ",
    );
    let many = ["--steps", "100000000", "--epochs", "100000000"];
    let often = ["--mode", "fast", "--output-dir", "out", "--save-steps", "1"];
    let all = [&often[..], &many].concat();
    let expected = "MB free, and the run may write";
    check(&workspace, &all, 2, expected);
    check(
        &workspace,
        &[&all[..], &["--dry-run"]].concat(),
        2,
        expected,
    );
    let few = [&all[..], &["--save-total-limit", "2", "--dry-run"]].concat();
    call(&workspace, &few)
        .expect_code(0)
        .expect_stdout("MB free: 3 checkpoints of ");
}

/// A run of a few seconds: little warm-up, few pairs, few tasks.
const SMALL: &str = "\
[generation]
max_new_tokens = 16
[warm_up]
steps = 30
[training]
steps = 2
[preferences]
metric = \"bleu\"
prompts_max = 60
margin_min = 0.0
[rollout]
prompts_per_step = 4
samples_per_prompt = 4
[evaluation]
tasks_max = 20
bootstrap_samples = 100
";

/// Would catch a run that leaves something out, and a seed that does not decide everything.
#[test]
fn the_job_runs_and_repeats() {
    let workspace = Workspace::new();
    workspace.write("small.toml", SMALL);
    let run = |folder: &str, seed: &str, more: &[&str]| {
        let arguments = [
            "--mode",
            "fast",
            "--config",
            "small.toml",
            "--output-dir",
            folder,
            "--seed",
            seed,
        ];
        call(&workspace, &[&arguments, more].concat()).expect_code(0)
    };
    let first = run("first", "1", &[]);
    for part in [
        "before warm-up",
        "after warm-up",
        "after ppo",
        "ppo (2 steps, 32 responses)",
        "targets",
        "bertscore              not computed: plugin",
    ] {
        assert!(
            first.stdout.contains(part),
            "`{part}` is missing in {}",
            first.stdout
        );
    }
    assert!(
        first.stderr.contains("warm-up: 0/30 steps"),
        "{}",
        first.stderr
    );
    for file in [
        "first/config.json",
        "first/manifest.json",
        "first/metrics.jsonl",
        "first/completions.jsonl",
        "first/summary.json",
        "first/checkpoint-2/model.safetensors",
        "first/final/config.json",
        "first/final/model.safetensors",
        "first/final/tokenizer.json",
    ] {
        assert!(workspace.join(file).is_file(), "{file} is missing");
    }
    report::check_page(&workspace, "first");
    // Pairs were ranked by what the plugins say.
    call(&workspace, &["replay", "first"])
        .expect_code(0)
        .expect_stdout("all numbers are the logged ones");
    run("again", "1", &[]);
    run("other", "2", &[]);
    let dpo = run("dpo-first", "1", &["--method", "dpo"]);
    assert!(
        dpo.stdout.contains("after dpo") && dpo.stdout.contains("held-out accuracy"),
        "{}",
        dpo.stdout
    );
    run("dpo-again", "1", &["--method", "dpo"]);
    let bytes = |name: &str| std::fs::read(workspace.join(name)).expect(name);
    for file in [
        "summary.json",
        "metrics.jsonl",
        "completions.jsonl",
        "final/model.safetensors",
    ] {
        let first = bytes(&format!("first/{file}"));
        assert!(
            first == bytes(&format!("again/{file}")),
            "{file} differs for one seed"
        );
        assert!(
            first != bytes(&format!("other/{file}")),
            "{file} is the same for two seeds"
        );
        assert!(
            bytes(&format!("dpo-first/{file}")) == bytes(&format!("dpo-again/{file}")),
            "{file} of DPO differs for one seed"
        );
    }
    let summary: serde_json::Value =
        serde_json::from_str(&workspace.read("first/summary.json")).expect("it is JSON");
    let stages = summary["evaluations"].as_array().expect("a list");
    assert_eq!(stages.len(), 3);
    let learned = |at: usize| stages[at]["metrics"][0]["mean"].as_f64().expect("a number");
    assert!(
        learned(1) > learned(0),
        "the warm-up taught nothing: {stages:?}"
    );
}

/// Would catch a model folder that can't be trained on a user's own files, and
/// one that the run's own result can't be the start of.
#[test]
fn a_model_folder_and_files() {
    let workspace = Workspace::new();
    let mut rows = String::from("prompt,chosen,rejected\n");
    for at in 0..20 {
        rows.push_str(&format!("say {at},\"return {at}\",\"print({at}, {at})\"\n"));
    }
    workspace.write("pairs.csv", rows);
    workspace.write("small.toml", SMALL.replace("steps = 30", "steps = 0"));
    let golden =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/models/tiny-llama");
    let golden = golden.display().to_string();
    let run = |model: &str, folder: &str, more: &[&str]| {
        let arguments = [
            "--mode",
            "fast",
            "--config",
            "small.toml",
            "--model-name",
            model,
            "--train-data-path",
            "pairs.csv",
            "--output-dir",
            folder,
        ];
        call(&workspace, &[&arguments, more].concat())
            .expect_code(0)
            .expect_stdout("preferences (data: 16 pairs trained, 4 held out)")
    };
    let has = |file: &str| workspace.join(file).is_file();
    run(&golden, "one", &[]);
    run("one/final", "two", &[]);
    // Adapters are the result where their model is there without the run.
    let adapters = ["--lora-rank", "4"];
    run("one/final", "three", &adapters);
    assert!(has("three/final/adapter_model.safetensors") && has("three/final/tokenizer.json"));
    assert!(!has("three/final/config.json"));
    run("three/final", "four", &adapters);
    assert!(has("four/final/model.safetensors"));
    run(&golden, "five", &["--lora-rank", "4", "--merge-adapters"]);
    assert!(has("five/final/model.safetensors") && !has("five/final/adapter_config.json"));
}

/// Would catch a metric's failure that ends the run, is hidden, or is scored as zero.
#[test]
fn a_metric_that_fails_costs_its_own_number() {
    let workspace = Workspace::new();
    let guests = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/hostile/guests");
    workspace.write(
        "rows.jsonl",
        "{\"id\": \"good\", \"prediction\": \"a\", \"reference\": \"a\"}\n{\"id\": \"bad\", \"prediction\": \"a\", \"reference\": \"a\"}\n",
    );
    for (name, reason) in [
        (
            "panic",
            "trap: wasm `unreachable` instruction executed; the plugin wrote:",
        ),
        ("loop", "out of fuel"),
        ("nan", "bad result"),
    ] {
        let path = guest(guests.join(name)).display().to_string();
        let plugin = format!("{path},name={name}");
        let run = call(
            &workspace,
            &[
                "eval",
                "--predictions",
                "rows.jsonl",
                "--metric",
                &plugin,
                "--per-sample",
                "scores.jsonl",
            ],
        );
        let run = run
            .expect_code(0)
            .expect_stdout("1 of 2 failed: sample `bad`");
        assert!(run.stdout.contains(reason), "{name}: {}", run.stdout);
        let scores = workspace.read("scores.jsonl");
        let lines: Vec<serde_json::Value> = scores
            .lines()
            .map(|line| serde_json::from_str(line).expect("it is JSON"))
            .collect();
        assert_eq!(lines[0]["scores"][name]["value"], 0.5, "{scores}");
        assert!(lines[1]["scores"][name]["failure"].is_string(), "{scores}");
    }
}

/// Would catch `eval` that takes rows it can't read, and one that scores wrongly.
#[test]
fn eval() {
    let workspace = Workspace::new();
    let run = call(
        &workspace,
        &[
            "eval",
            "--prediction",
            "a b c d",
            "--reference",
            "a b c e",
            "--metric",
            "bleu",
            "--output",
            "json",
        ],
    )
    .expect_code(0);
    let results: serde_json::Value = serde_json::from_str(&run.stdout).expect("it is JSON");
    // nltk 3.10.4: sentence_bleu(["a b c e".split()], "a b c d".split(), smoothing method1)
    // has the precisions 3/4, 2/3, 1/2 and 0.1/1.
    let expected = (0.75_f64 * (2.0 / 3.0) * 0.5 * 0.1).powf(0.25);
    let found = results[0]["value"].as_f64().expect("a number");
    assert!((found - expected).abs() < 1e-12, "{found}");

    workspace.write(
        "rows.jsonl",
        "{\"prediction\": \"a\", \"reference\": \"a\"}\n{\"reference\": 1}\n",
    );
    call(&workspace, &["eval", "--predictions", "rows.jsonl"])
        .expect_code(2)
        .expect_stderr("`rows.jsonl`, line 2: ");
    call(&workspace, &["eval"])
        .expect_code(2)
        .expect_stderr("nothing to score");
    with_plugins(rlhf!(&workspace))
        .args(["eval", "--predictions", "-", "--metric", "bleu"])
        .stdin("{\"completion\": \"x y\", \"references\": [\"x y\", \"z\"]}\n")
        .run()
        .expect_code(0)
        .expect_stdout("\"bleu\":{");
}

/// Would catch a plan that trains, or says nothing.
#[test]
fn dry_run_and_inspection() {
    let workspace = Workspace::new();
    call(
        &workspace,
        &["--mode", "fast", "--dry-run", "--output-dir", "out"],
    )
    .expect_code(0)
    .expect_stdout("evaluation 256 held-out tasks")
    .expect_stdout("all of them trained")
    .expect_stdout("memory     at most ")
    .expect_stdout(" MB, in ppo: weights ");
    assert!(!workspace.join("out").exists());
    let lora = [
        "--mode",
        "fast",
        "--dry-run",
        "--precision",
        "bf16",
        "--gradient-checkpointing",
        "--lora-rank",
        "4",
        "--lora-target-modules",
    ];
    // Of four layers of 128 with two key heads of 32: 4 · 4 · ((128 + 128) + (128 + 64)).
    call(&workspace, &[&lora[..], &["q_proj,v_proj"]].concat())
        .expect_code(0)
        .expect_stdout("of which 7168 are trained: adapters of rank 4 on q_proj, v_proj")
        .expect_stdout("weights that are not trained stored in bf16")
        .expect_stdout("gradient checkpointing");
    call(&workspace, &[&lora[..], &["q_proj,c_attn"]].concat())
        .expect_code(2)
        .expect_stderr("no layer of the model is called `c_attn`\nhint: there are q_proj");
    call(&workspace, &["plugin", "inspect", "metrics/codebleu.wasm"])
        .expect_code(0)
        .expect_stdout(
            "components     ngram_match, weighted_ngram_match, syntax_match, dataflow_match",
        );
    call(&workspace, &["plugin", "list"])
        .expect_code(0)
        .expect_stdout("codebleu");
    // The literal command of the README, up to its plan: fast mode with the metric added.
    call(
        &workspace,
        &["--plugin", "metrics/codebleu.wasm", "--dry-run"],
    )
    .expect_code(0)
    .expect_stdout("builtin:tiny-code");
    let config = call(
        &workspace,
        &[
            "config",
            "--output",
            "json",
            "--mode",
            "production",
            "--batch-size",
            "3",
        ],
    )
    .expect_code(0);
    let config: serde_json::Value = serde_json::from_str(&config.stdout).expect("it is JSON");
    assert_eq!(config["training"]["batch_size"], 3);
    assert_eq!(config["training"]["learning_rate"], 1e-6);
}
