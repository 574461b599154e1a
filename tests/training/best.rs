//! The best checkpoint: which it is, that it stays, and that a run can end with it.

use rlhf::trainer::checkpoint;
use rlhf_test_support::Workspace;
use serde_json::Value;

use crate::job::{difference, run, workspace};

fn json(workspace: &Workspace, file: &str) -> Value {
    serde_json::from_str(&workspace.read(file)).expect("it is JSON")
}

/// Rows of a run's training in `metrics.jsonl`, and of the evaluation after it, that have a tag:
/// step and value.
fn curve(workspace: &Workspace, folder: &str, stage: &str, tag: &str) -> Vec<(u64, f64)> {
    let text = workspace.read(format!("{folder}/metrics.jsonl"));
    let rows = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("it is JSON"));
    let after = format!("evaluate after {stage}");
    rows.filter(|row| row["stage"] == stage || row["stage"] == after.as_str())
        .filter_map(|row| Some((row["step"].as_u64()?, row[tag].as_f64()?)))
        .collect()
}

// Would catch a best checkpoint that is not the best, is rotated away, or is not what a run ends
// with although it was asked to; and a name that nothing has, found only after the training.
#[test]
fn a_run_ends_with_its_best_checkpoint() {
    let workspace = workspace();
    for (method, metric, tag, greater) in [
        ("dpo", "eval_loss", "eval/loss", false),
        ("ppo", "edit-similarity", "eval/edit-similarity", true),
    ] {
        // So large a rate that the last weights are hardly the best.
        let flags = [
            "--metric-for-best-model",
            metric,
            "--load-best-model-at-end",
            "--eval-strategy",
            "no",
        ];
        let rate = ["--learning-rate", "0.05"];
        run(&workspace, method, method, &[&flags[..], &rate].concat())
            .run()
            .expect_code(0);
        let folder = workspace.join(method);
        let last = json(
            &workspace,
            &format!("{method}/checkpoint-10/trainer_state.json"),
        );
        let best = last["best_global_step"].as_u64().expect("a step");
        let value = last["best_metric"].as_f64().expect("a number");
        assert_eq!(last["best_model_checkpoint"], format!("checkpoint-{best}"));
        let curve = curve(&workspace, method, method, tag);
        // Five checkpoints, each once; the last row is of the end, which has the best's weights.
        let compared: Vec<(u64, f64)> = curve.into_iter().filter(|(step, _)| *step > 0).collect();
        assert_eq!(compared.len(), 5, "{compared:?}");
        for (step, other) in &compared {
            let better = if greater {
                *other > value
            } else {
                *other < value
            };
            assert!(!better, "{step}: {other} is better than {value} of {best}");
        }
        let at = compared.iter().find(|(step, _)| *step == best);
        assert_eq!(at.map(|(_, value)| *value), Some(value), "{compared:?}");
        let left: Vec<u64> = checkpoint::all(&folder)
            .iter()
            .map(|(step, _)| *step)
            .collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(
            left.contains(&best) && left.contains(&10),
            "{left:?}, best {best}"
        );
        let weights = |name: &str| {
            std::fs::read(folder.join(name).join("model.safetensors")).expect("weights")
        };
        assert!(
            weights("final") == weights(&format!("checkpoint-{best}")),
            "{method}"
        );
        assert!(
            best == 10 || weights("final") != weights("checkpoint-10"),
            "{method}"
        );
    }
    for (metric, known) in [
        ("eval_bertscore", "eval/loss"),
        ("rewards/bleu", "logps/chosen"),
    ] {
        let flags = ["--metric-for-best-model", metric];
        run(&workspace, "dpo", "none", &flags)
            .run()
            .expect_code(2)
            .expect_stderr(&format!("is `{}`, which nothing has; there are ", metric))
            .expect_stderr(known);
        std::fs::remove_dir_all(workspace.join("none")).expect("it was begun");
    }
}

// Would catch a mean over the steps since the last checkpoint that an interruption cuts in two.
#[test]
fn an_interruption_leaves_the_best_the_best() {
    let workspace = workspace();
    let flags = [
        "--metric-for-best-model",
        "reward",
        "--load-best-model-at-end",
        "--learning-rate",
        "0.05",
        "--save-steps",
        "3",
    ];
    run(&workspace, "ppo", "whole", &flags).run().expect_code(0);
    let mut running = run(&workspace, "ppo", "cut", &flags).start();
    let rows = workspace.join("cut/metrics.jsonl");
    let came = running.wait_until(|| {
        let text = std::fs::read_to_string(&rows).unwrap_or_default();
        text.contains("\"stage\":\"ppo\",\"step\":4,")
    });
    assert!(came, "it ended before its fourth step");
    running.signal("INT");
    running.wait().expect_code(130);
    run(
        &workspace,
        "ppo",
        "cut",
        &[&flags[..], &["--resume"]].concat(),
    )
    .run()
    .expect_code(0);
    assert_eq!(difference(&workspace, "whole", "cut"), None);
}
