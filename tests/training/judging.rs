//! The policy judged in the middle of its training: when it should be, and without a trace in what
//! is learnt.

use serde_json::Value;

use crate::job::{run, workspace};

fn rows(text: &str) -> Vec<Value> {
    let row = |line| serde_json::from_str(line).expect("a row is JSON");
    text.lines().map(row).collect()
}

// Would catch an evaluation at another step than it should be, one that changes what is learnt,
// a metric of the run that it leaves out, and an estimate of the time that is not told.
#[test]
fn held_out_metrics_come_by_steps_and_by_epoch() {
    let workspace = workspace();
    for method in ["dpo", "ppo"] {
        let flags: [(&str, &[&str]); 3] = [
            ("never", &["--eval-strategy", "no"]),
            ("steps", &["--eval-steps", "4"]),
            (
                "epoch",
                &["--set", "training.gradient_accumulation_steps=1"],
            ),
        ];
        let weights = flags.map(|(name, flags)| {
            let folder = format!("{method}-{name}");
            let done = run(&workspace, method, &folder, flags).run().expect_code(0);
            let metrics = rows(&workspace.read(format!("{folder}/metrics.jsonl")));
            let judged = |tag: &str| -> Vec<u64> {
                let of_tag = |row: &&Value| row["stage"] == method && row[tag].is_number();
                let found = metrics.iter().filter(of_tag);
                found.filter_map(|row| row["step"].as_u64()).collect()
            };
            let ends: Vec<u64> = metrics
                .iter()
                .filter(|row| row["stage"] == method)
                .filter(|row| {
                    row["epoch"]
                        .as_f64()
                        .is_some_and(|epoch| epoch.fract() == 0.0)
                })
                .filter_map(|row| row["step"].as_u64())
                .filter(|step| *step < 10)
                .collect();
            let expected = match name {
                "never" => Vec::new(),
                "steps" => vec![4, 8],
                _ => ends,
            };
            assert_eq!(judged("eval/edit-similarity"), expected, "{folder}");
            if method == "dpo" {
                let pairs = judged("eval/rewards/accuracies");
                // What was before the first step is told with the reference's log-probabilities.
                let expected = [&expected[..], &[10]].concat();
                assert_eq!(pairs, expected, "{folder}");
            }
            let timing = rows(&workspace.read(format!("{folder}/timing.jsonl")));
            let estimate = timing
                .iter()
                .find(|row| row["stage"] == method && row["seconds_left"].is_number())
                .unwrap_or_else(|| panic!("{folder}: {timing:?}"));
            assert_eq!(
                (estimate["step"].as_u64(), estimate["steps_left"].as_u64()),
                (Some(4), Some(6))
            );
            let steps = timing.iter().filter(|row| row["stage"] == method);
            assert_eq!(steps.filter(|row| row["seconds"].is_number()).count(), 10);
            done.expect_stderr(&format!("{method}: "))
                .expect_stderr(" a step; 6 steps and ");
            std::fs::read(workspace.join(&folder).join("final/model.safetensors")).expect("weights")
        });
        assert!(
            weights[0] == weights[1] && weights[0] == weights[2],
            "{method}"
        );
    }
}
