//! PPO, GRPO, RLOO and supervised training from the command line: do they run, repeat, and go on
//! where they were ended?

use std::path::Path;

use rlhf_test_support::{Run, Workspace, guest};
use serde_json::{Value, json};

use crate::{SMALL, call};

/// A checkpoint after every second step.
fn settings(workspace: &Workspace, warm_up: usize) {
    let small = SMALL
        .replace("steps = 2\n", "steps = 6\nsave_steps = 2\nbatch_size = 8\n")
        .replace("steps = 30", &format!("steps = {warm_up}"));
    workspace.write("small.toml", small);
}

/// A run with those settings.
fn small_run(workspace: &Workspace, arguments: &[&str]) -> Run {
    let settings = ["--mode", "fast", "--config", "small.toml"];
    call(workspace, &[&settings, arguments].concat())
}

fn train(workspace: &Workspace, method: &str, folder: &str, more: &[&str]) -> Run {
    let arguments = ["--method", method, "--plugin", "bleu,weight=1"];
    let arguments = [&arguments[..], &["--output-dir", folder], more].concat();
    small_run(workspace, &arguments)
}

fn bytes(workspace: &Workspace, file: &str) -> Vec<u8> {
    std::fs::read(workspace.path().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// What a run leaves that must be the same for an equal run.
fn same(workspace: &Workspace, one: &str, two: &str) {
    for file in [
        "metrics.jsonl",
        "completions.jsonl",
        "summary.json",
        "final/model.safetensors",
    ] {
        let [a, b] = [one, two].map(|folder| bytes(workspace, &format!("{folder}/{file}")));
        assert!(a == b, "{one} and {two} differ in {file}");
    }
}

/// Would catch a method that cannot be run, one whose seed does not decide everything, and a
/// continued run that is another one: the files of both must be the same bytes. And a number that
/// is told twice: that of the last epoch, and that of the end, where it decides what is the best.
#[test]
fn runs_repeat_and_go_on() {
    let workspace = Workspace::new();
    settings(&workspace, 30);
    let train = |workspace: &Workspace, method: &str, folder: &str, more: &[&str]| {
        let best = ["--metric-for-best-model", "bleu"];
        train(workspace, method, folder, &[&best, more].concat())
    };
    for method in ["ppo", "grpo", "rloo"] {
        let [whole, cut] = ["whole", "cut"].map(|name| format!("{method}-{name}"));
        let run = train(&workspace, method, &whole, &[]).expect_code(0);
        crate::tracking::check_once(&workspace, &whole, method);
        assert!(
            run.stdout
                .contains(&format!("{method} (6 steps, 96 responses)")),
            "{}",
            run.stdout
        );
        train(&workspace, method, &cut, &[]).expect_code(0);
        same(&workspace, &whole, &cut);
        // As if it had been ended in its last steps.
        let folder = workspace.path().join(&cut);
        for gone in ["checkpoint-6", "final"] {
            std::fs::remove_dir_all(folder.join(gone)).expect("it was there");
        }
        std::fs::remove_file(folder.join("summary.json")).expect("it was there");
        train(&workspace, method, "elsewhere", &["--resume", &cut])
            .expect_code(2)
            .expect_stderr("a run goes on in its own folder");
        train(&workspace, method, &cut, &["--resume"])
            .expect_code(0)
            .expect_stdout("after warm-up");
        same(&workspace, &whole, &cut);
        crate::tracking::check_once(&workspace, &cut, method);
        let text = workspace.read(format!("{whole}/completions.jsonl"));
        let rows: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("it is JSON"))
            .filter(|row: &Value| row["stage"] == method)
            .collect();
        assert_eq!(rows.len(), 96);
        assert_eq!(rows[0]["reward"], rows[0]["parts"]["bleu"]["value"]);
    }
}

/// Would catch demonstrations that are not learned, or checkpoints of them that are not found.
#[test]
fn supervised_training_goes_on() {
    let workspace = Workspace::new();
    settings(&workspace, 0);
    let train = |workspace: &Workspace, method: &str, folder: &str, more: &[&str]| {
        let best = ["--metric-for-best-model", "bleu"];
        train(workspace, method, folder, &[&best, more].concat())
    };
    train(&workspace, "sft", "whole", &[]).expect_code(0);
    crate::tracking::check_once(&workspace, "whole", "warm-up");
    train(&workspace, "sft", "cut", &[]).expect_code(0);
    for gone in ["checkpoint-6", "checkpoint-4", "final"] {
        std::fs::remove_dir_all(workspace.path().join("cut").join(gone)).expect("it was there");
    }
    let from = Path::new("cut").join("checkpoint-2").display().to_string();
    train(&workspace, "sft", "cut", &["--resume", &from]).expect_code(0);
    same(&workspace, "whole", "cut");
    // Another learning rate is another run.
    let other = ["--resume", "cut", "--learning-rate", "0.5"];
    let run = train(&workspace, "sft", "cut", &other);
    assert!(
        run.stderr.contains("training.learning_rate is"),
        "{}",
        run.stderr
    );
    train(&workspace, "sft", "none", &["--resume"])
        .expect_code(2)
        .expect_stderr("`none` holds no run");
}

/// Would catch a `--mode` that is passed over where a run is gone on with, and a mode that is
/// forgotten on the way. A folder that does not tell it, as those of earlier versions, does nothing.
#[test]
fn a_run_keeps_its_mode() {
    let workspace = Workspace::new();
    settings(&workspace, 0);
    let mode = || {
        let manifest: Value =
            serde_json::from_str(&workspace.read("run/manifest.json")).expect("JSON");
        manifest["mode"].clone()
    };
    train(&workspace, "sft", "run", &[]).expect_code(0);
    assert_eq!(mode(), "fast");
    let other = ["--mode", "research", "--resume", "run"];
    let refused = call(&workspace, &other).expect_code(2);
    let expected = "error: flag `--mode`: `research`, but the run in `run` was begun with `fast`\n\
                    hint: leave --mode out to go on with the run, or begin another without --resume, \
                    under --output-dir or --experiment-name\n";
    assert_eq!(refused.stderr, expected);
    // The configuration that it would have is refused as well.
    call(&workspace, &[&["config"], &other[..]].concat()).expect_code(2);
    let same = ["--mode", "fast", "--resume", "run", "--dry-run"];
    call(&workspace, &same).expect_code(0);
    std::fs::remove_dir_all(workspace.join("run/final")).expect("it was there");
    call(&workspace, &["--resume", "run"]).expect_code(0);
    assert_eq!(mode(), "fast");
    let mut manifest: Value =
        serde_json::from_str(&workspace.read("run/manifest.json")).expect("JSON");
    let gone = manifest.as_object_mut().and_then(|all| all.remove("mode"));
    assert!(gone.is_some());
    workspace.write("run/manifest.json", manifest.to_string());
    call(&workspace, &[&other[..], &["--dry-run"]].concat()).expect_code(0);
}

fn rows(workspace: &Workspace, file: &str, stage: &str) -> Vec<Value> {
    let text = workspace.read(file);
    let rows = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("it is JSON"));
    rows.filter(|row| row["stage"] == stage).collect()
}

/// The Python project's format: people like what returns and dislike what prints.
fn feedback(workspace: &Workspace) {
    let rows: Vec<Value> = (0..40)
        .map(|i| {
            let good = i % 2 == 0;
            json!({
                "prompt": format!("# A function f{}(x) that adds {0}.", i / 2),
                "response": match good {
                    true => format!("def f{}(x):\n    return x + {0}", i / 2),
                    false => format!("print({})", i / 2),
                },
                "rating": if good { 5.0 } else { 1.0 },
                "logits": if good { [2.0, 0.0] } else { [-1.0, 1.0] },
            })
        })
        .collect();
    workspace.write("feedback.json", json!(rows).to_string());
}

/// Would catch human feedback that trains no reward model, a model that has no share in the reward
/// (or not the one that was asked for), and one that is trained again when the run goes on.
#[test]
fn human_feedback_becomes_a_part_of_the_reward() {
    let workspace = Workspace::new();
    settings(&workspace, 30);
    let small = workspace.read("small.toml");
    workspace.write(
        "small.toml",
        small + "[reward_model]\nfeedback_weight = 0.25\nclip = 0.5\n",
    );
    feedback(&workspace);
    let run = |folder: &str, more: &[&str]| {
        // No method is named: there is a reward, so it is PPO.
        let arguments = [
            "--plugin",
            "bleu,weight=1",
            "--human-feedback-path",
            "feedback.json",
            "--output-dir",
            folder,
            "--wandb",
        ];
        small_run(&workspace, &[&arguments, more].concat()).expect_code(0)
    };
    run("none", &["--dry-run"])
        .expect_stdout("reward     a model, trained on 40 ratings from the policy")
        .expect_stdout("rewarded by 0.25 the reward model + 0.75 (bleu)");
    let first = run("whole", &[]);
    assert!(
        first
            .stdout
            .contains("reward model (builtin:tiny-code: 48 examples trained, 4 pairs held out)"),
        "{}",
        first.stdout
    );
    assert!(
        workspace
            .join("whole/reward-model/model.safetensors")
            .is_file()
    );
    assert!(!rows(&workspace, "whole/metrics.jsonl", "reward model").is_empty());
    for row in rows(&workspace, "whole/completions.jsonl", "ppo") {
        let part = |name: &str| row["parts"][name]["value"].as_f64().expect("a number");
        let human = part("reward_model").clamp(-0.5, 0.5);
        let expected = 0.25 * human + 0.75 * part("bleu");
        let found = row["reward"].as_f64().expect("a number");
        assert!((found - expected).abs() < 1e-12, "{row}");
    }
    // Evaluations in the middle of the training have rows of their own.
    let mut curves = rows(&workspace, "whole/metrics.jsonl", "ppo");
    curves.retain(|row| row["rewards/total"].is_number());
    assert_eq!(curves.len(), 6);
    for tag in ["rewards/reward_model", "rewards/bleu", "rewards/total"] {
        assert!(curves.iter().all(|row| row[tag].is_number()), "{tag}");
    }
    for part in ["reward_model", "bleu"] {
        let costs = rows(&workspace, "whole/costs.jsonl", "ppo");
        let of_part: Vec<&Value> = costs.iter().filter(|row| row["plugin"] == part).collect();
        assert_eq!(of_part.len(), 6, "{part}");
        assert!(of_part[0]["seconds"].as_f64() > Some(0.0));
    }
    run("cut", &[]);
    for gone in ["checkpoint-6", "final"] {
        std::fs::remove_dir_all(workspace.path().join("cut").join(gone)).expect("it was there");
    }
    let again = run("cut", &["--resume"]);
    assert!(
        !again.stderr.contains("reward model: 0/"),
        "{}",
        again.stderr
    );
    same(&workspace, "whole", "cut");
    // What the first process said is said again to TensorBoard and to Weights & Biases, and each
    // of them hears as much as of the whole run, and nothing twice.
    crate::tracking::check_once(&workspace, "whole", "ppo");
    crate::tracking::check_once(&workspace, "cut", "ppo");
    let points = |run: &str| {
        let mut points = crate::tracking::scalars(&workspace.join(run));
        points.sort();
        points
    };
    assert_eq!(points("whole"), points("cut"));
    let of_reward_model = |(tag, _): &(String, u64)| tag == "reward_model/loss";
    assert!(points("whole").iter().any(of_reward_model));
    let rows = |run: &str| {
        let mut rows = crate::tracking::history(&workspace.join(run));
        rows.sort();
        rows
    };
    let (whole, cut) = (rows("whole"), rows("cut"));
    assert_eq!(whole, cut);
    let with_steps: Vec<_> = whole.iter().filter(|(_, step)| step.is_some()).collect();
    assert!(with_steps.len() > 40, "{whole:?}");
    let twice: Vec<_> = with_steps
        .windows(2)
        .filter(|two| two[0] == two[1])
        .collect();
    assert!(twice.is_empty(), "{twice:?}");
    // The reward model that the run has trained is found again.
    call(&workspace, &["replay", "cut"]).expect_code(0);
    // A model that is nowhere is missed before any work.
    let arguments = [
        "--mode",
        "fast",
        "--human-feedback-path",
        "feedback.json",
        "--reward-model-name",
        "nowhere",
        "--output-dir",
        "none",
    ];
    call(&workspace, &arguments)
        .expect_code(2)
        .expect_stderr("human feedback trains a reward model, and model `nowhere` is not a folder");
    assert!(!workspace.join("none").exists());
}

/// Would catch preferences that are not learned as they are where nobody named a reward, and a
/// reward that is forgotten for them.
#[test]
fn preferences_alone_mean_dpo() {
    let workspace = Workspace::new();
    let pairs: String = (0..20)
        .map(|i| format!("say {i},return {i},print({i})\n"))
        .collect();
    workspace.write("pairs.csv", format!("prompt,chosen,rejected\n{pairs}"));
    let plan = |more: &[&str], expected: &str| {
        let arguments = [
            "--mode",
            "fast",
            "--train-data-path",
            "pairs.csv",
            "--dry-run",
        ];
        call(&workspace, &[&arguments, more].concat())
            .expect_code(0)
            .expect_stdout(expected);
    };
    plan(&[], "dpo        16 pairs from the data, 4 held out");
    plan(&["--plugin", "bleu"], "dpo        16 pairs");
    plan(
        &["--plugin", "bleu,weight=1"],
        "ppo        4 responses to each of 16 prompts a step (of 16), rewarded by bleu",
    );
}

/// The count in a line of a plan that begins with `name`, behind `before`.
fn planned(plan: &Run, name: &str, before: &str) -> usize {
    let line = plan.stdout.lines().find(|line| line.starts_with(name));
    let (_, rest) = line
        .and_then(|line| line.split_once(before))
        .unwrap_or_else(|| panic!("{}", plan.stdout));
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    digits
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("{rest}"))
}

/// Would catch a plan with more steps than there will be: `steps` is a maximum beside `epochs`, and
/// an example that does not fit is none.
#[test]
fn a_plan_has_the_steps_that_are_done() {
    let workspace = Workspace::new();
    settings(&workspace, 0);
    let (mut texts, mut pairs) = (Vec::new(), Vec::new());
    for i in 0..48 {
        let long = if i % 3 == 0 { 60 } else { 1 };
        let (prompt, chosen) = (format!("say {i}"), format!("return {i}\n").repeat(long));
        texts.push(json!({"prompt": prompt, "response": chosen}).to_string());
        let pair = json!({"prompt": prompt, "chosen": chosen, "rejected": format!("print({i})")});
        pairs.push(pair.to_string());
    }
    workspace.write("texts.jsonl", texts.join("\n"));
    workspace.write("pairs.jsonl", pairs.join("\n"));
    for (method, stage, file, what) in [
        ("sft", "warm-up", "texts.jsonl", "demonstrations"),
        ("dpo", "dpo", "pairs.jsonl", "preferences"),
    ] {
        let run = |more: &[&str]| {
            let arguments = [
                "--method",
                method,
                "--train-data-path",
                file,
                "--batch-size",
                "4",
                "--epochs",
                "2",
                "--output-dir",
                method,
            ];
            small_run(&workspace, &[&arguments, more].concat()).expect_code(0)
        };
        let plan = run(&["--steps", "40", "--dry-run"])
            .expect_stdout(" epochs end before the 40 of --steps)")
            .expect_stdout("time       known after 4 steps");
        let all = planned(&plan, "tokens     ", "tokens     ");
        let out = planned(&plan, "cut        ", "tokens: ");
        assert!(
            plan.stdout
                .contains(&format!("{out} of {all} {what} are left out"))
        );
        run(&["--steps", "40"]);
        let done = rows(&workspace, &format!("{method}/metrics.jsonl"), stage);
        let done = done.iter().filter(|row| row["loss"].is_number()).count();
        assert_eq!(
            planned(&plan, "steps      ", "steps      "),
            done,
            "{method}"
        );
        let passes = done / (all - out).div_ceil(4);
        assert!(passes * all.div_ceil(4) > done, "no step is left out");
        run(&["--steps", "3", "--dry-run", "--overwrite"])
            .expect_stdout("steps      3 of 4 ")
            .expect_stdout("time       not estimated: that needs more than 4 steps");
    }
}

/// Would catch the reward model, and its checkpoints, left out of what a run needs on the disk.
#[test]
fn the_disk_has_room_for_the_reward_model() {
    let workspace = Workspace::new();
    settings(&workspace, 0);
    feedback(&workspace);
    let plan = |more: &[&str]| {
        let once = ["--dry-run", "--steps", "1", "--save-steps", "1"];
        train(&workspace, "grpo", "run", &[&once, more].concat()).expect_code(0)
    };
    let without = plan(&[]);
    let with = plan(&["--human-feedback-path", "feedback.json"]);
    let models = |plan: &Run| planned(plan, "disk       ", "models ");
    // Rounded up.
    assert!(models(&with) + 1 >= 2 * models(&without), "{}", with.stdout);
    // One of the only step; the newest of the reward model's, and the next beside it.
    let checkpoints = |plan: &Run| {
        let size = planned(plan, "disk       ", "checkpoints of ");
        (planned(plan, "disk       ", ": "), size)
    };
    let (one, size) = checkpoints(&without);
    assert_eq!(one, 1);
    let (two, same) = checkpoints(&with);
    assert_eq!((two, same), (2, size), "{}", with.stdout);
}

/// Would catch a reward that has more for nothing than for the answer and is not told of, and
/// warnings that the run's files and its page lack.
#[test]
fn a_reward_for_what_is_bad_is_told() {
    let workspace = Workspace::new();
    settings(&workspace, 0);
    let arguments = [
        "--method",
        "ppo",
        "--plugin",
        "bleu,weight=-1",
        "--output-dir",
        "out",
    ];
    let told = "ppo, step 1: the reward has 0 for a response that is known to be bad";
    small_run(&workspace, &arguments)
        .expect_code(0)
        .expect_stderr(told)
        .expect_stdout(told);
    let margins = rows(&workspace, "out/metrics.jsonl", "ppo");
    let margins = margins.iter().map(|row| &row["diagnostics/canary_margin"]);
    assert!(
        margins
            .into_iter()
            .all(|margin| margin.as_f64() < Some(0.0))
    );
    let summary: Value = serde_json::from_str(&workspace.read("out/summary.json")).expect("JSON");
    let warnings = summary["warnings"].as_array().expect("a list");
    // Once: it is there in each batch.
    let of_it = warnings
        .iter()
        .filter(|w| w.as_str().is_some_and(|w| w.contains("known to be bad")));
    assert_eq!(of_it.count(), 1, "{warnings:?}");
    let page = workspace.read("out/report.html");
    assert!(page.contains("known to be bad"));
    assert_eq!(
        rows(&workspace, "out/warnings.jsonl", "ppo").len(),
        warnings.len()
    );
}

/// Would catch texts without a prompt, as TRL's `text` rows, that nothing is learnt of, and tasks
/// that are made of them.
#[test]
fn texts_are_learnt() {
    let workspace = Workspace::new();
    settings(&workspace, 0);
    let texts: Vec<String> = (0..12)
        .map(|i| json!({"text": format!("def f{i}(x):\n    return x + {i}\n")}).to_string())
        .collect();
    workspace.write("texts.jsonl", texts.join("\n"));
    let run = |more: &[&str]| {
        let arguments = ["--train-data-path", "texts.jsonl"];
        small_run(&workspace, &[&arguments, more].concat())
    };
    run(&["--dry-run", "--method", "sft"])
        .expect_code(0)
        .expect_stdout("sft        12 demonstrations")
        .expect_stdout("evaluation 0 held-out tasks")
        .expect_stdout("cut        at 128 tokens: nothing");
    run(&["--dry-run"])
        .expect_code(2)
        .expect_stderr("`--method ppo` needs prompts to sample responses to")
        .expect_stderr("--method sft learns texts without a prompt");
    // Flags count for the builtin model, which has a warm-up of its own, as for any other.
    let arguments = ["--dry-run", "--method", "sft", "--steps", "3"];
    let few = ["--batch-size", "2", "--model-name", "builtin:tiny-code"];
    let data = ["--train-data-path", "texts.jsonl"];
    call(&workspace, &[&arguments[..], &few, &data].concat())
        .expect_code(0)
        .expect_stdout("3 of 2 demonstrations (--steps)");
    run(&["--method", "sft", "--epochs", "2", "--output-dir", "out"])
        .expect_code(0)
        .expect_stderr("no task is held out, so no metric is computed");
    let losses = rows(&workspace, "out/metrics.jsonl", "warm-up");
    // Two epochs of two steps, which are fewer than the six allowed.
    assert_eq!(losses.len(), 4);
    assert!(
        losses[3]["loss"].as_f64() < losses[0]["loss"].as_f64(),
        "{losses:?}"
    );
}

/// Would catch a reward that gives full marks to what is known to be bad and goes on: here the
/// tests check nothing, and here what counts as bad is right.
#[test]
fn a_canary_that_passes_ends_the_run() {
    let workspace = Workspace::new();
    settings(&workspace, 0);
    let tasks: Vec<String> = (0..12)
        .map(|i| {
            let row = json!({
                "prompt": format!("# A function f{i}().\n"),
                "reference": format!("def f{i}():\n    return {i}"),
                "tests": ["assert True"],
            });
            row.to_string()
        })
        .collect();
    workspace.write("tasks.jsonl", tasks.join("\n"));
    let run = |plugin: &str, more: &[&str]| {
        let arguments = [
            "--train-data-path",
            "tasks.jsonl",
            "--plugin",
            plugin,
            "--output-dir",
            "out",
            "--overwrite",
        ];
        small_run(&workspace, &[&arguments, more].concat())
    };
    let tests = "unit-tests,weight=1,grant=sandbox";
    run(tests, &[])
        .expect_code(3)
        .expect_stderr("`unit-tests` gives 1, its best, to a response that is known to be bad")
        .expect_stderr("hint: a policy would learn to write the same");
    // The references themselves, called bad.
    let canaries: String = (0..12)
        .map(|i| format!("# A function f{i}().,\"def f{i}():\n    return {i}\"\n"))
        .collect();
    workspace.write("canaries.csv", format!("prompt,response\n{canaries}"));
    let small = workspace.read("small.toml");
    let with = |more: &str| workspace.write("small.toml", format!("{more}\n{small}"));
    with("[data]\ncanary_path = \"canaries.csv\"");
    let run = |expected: i32| run("exact-match,weight=1", &[]).expect_code(expected);
    run(3)
        .expect_stderr("`exact-match` gives 1, its best, to a response that is known to be bad")
        .expect_stderr("/canary ");
    workspace.write("canaries.csv", "prompt,response\nx,y\n");
    run(2).expect_stderr("canaries `canaries.csv`: no task has the prompt `x`");
}

/// Would catch a shaper that is told nothing of the executed tests or of the distance from the
/// reference, or something else than the run logs of them, and a replay that tells it less; and
/// rewards for tokens that come to another sum, or are learned from as if they were the last
/// token's.
#[test]
fn shapers_know_tests_and_divergence_and_reward_tokens() {
    let workspace = Workspace::new();
    settings(&workspace, 30);
    let witness = guest("tests/cli/guests/witness").display().to_string();
    for (method, more) in [
        ("ppo", &["--set", "ppo.kl_estimator=k1"][..]),
        (
            "grpo",
            &[
                "--set",
                "grpo.kl_coefficient=0.05",
                "--set",
                "rollout.resample_rounds=1",
            ],
        ),
    ] {
        let run = |witness: &str, folder: &str| {
            let tests = ["--plugin", "unit-tests,weight=1,grant=sandbox"];
            let witness = ["--plugin", witness, "--output-dir", folder];
            let arguments = [&["--method", method][..], &tests, &witness, more];
            small_run(&workspace, &arguments.concat()).expect_code(0);
        };
        run(&witness, method);
        let learned = rows(&workspace, &format!("{method}/completions.jsonl"), method);
        assert!(learned.len() >= 96, "{}", learned.len());
        for row in &learned {
            let told = &row["parts"]["witness"]["parts"];
            let tests = &row["metrics"]["unit-tests"]["components"];
            assert_eq!(told["kl"], row["kl"], "{row}");
            assert!(row["kl"].is_number(), "{row}");
            for name in ["passed", "total"] {
                assert_eq!(told[name], tests[name], "{row}");
            }
        }
        // Not of GRPO, which learns from other prompts' responses instead of some.
        if method == "ppo" {
            let logged = rows(&workspace, "ppo/metrics.jsonl", method);
            let mut moved = 0.0;
            for step in 1..=6 {
                let of_step = learned.iter().filter(|row| row["step"] == step);
                let all: Vec<f64> = of_step.filter_map(|row| row["kl"].as_f64()).collect();
                let mean = all.iter().sum::<f64>() / all.len() as f64;
                let told = logged.iter().filter(|row| row["step"] == step);
                let said = told.filter_map(|row| row["objective/kl"].as_f64()).next();
                let said = said.unwrap_or_else(|| panic!("step {step} has no objective/kl"));
                assert!((said - mean).abs() < 1e-6, "step {step}: {said} and {mean}");
                moved += mean.abs();
            }
            assert!(moved > 1e-4, "the policy never left its reference: {moved}");
        }
        call(&workspace, &["replay", method]).expect_code(0);
        for row in &learned {
            let terms = &row["parts"]["witness"]["per_token"];
            assert_eq!(
                terms.as_array().map(Vec::len),
                row["tokens"].as_u64().map(|n| n as usize)
            );
        }
        let at_end = format!("{witness},config={{\"at_end\":true}}");
        let whole = format!("{method}-at-end");
        run(&at_end, &whole);
        let first = |folder: &str| {
            let rows = rows(&workspace, &format!("{folder}/completions.jsonl"), method);
            let first = rows.into_iter().filter(|row| row["step"] == 1);
            first.map(|row| row["reward"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(first(method), first(&whole));
        let [by_token, at_end] = [method, &whole]
            .map(|folder| bytes(&workspace, &format!("{folder}/final/model.safetensors")));
        // Only PPO has values, by which it rewards tokens.
        assert_eq!(by_token == at_end, method == "grpo");
    }
}
