//! Does the job learn? Slow: `cargo xtask deep` runs it.

use rlhf_test_support::{Workspace, component, rlhf};
use serde_json::Value;

/// Would catch a change after which `--mode fast` no longer learns: on each of
/// three seeds, warm-up and DPO each raise the held-out BLEU by more than the
/// intervals could explain, and the held-out preference accuracy rises.
#[test]
#[ignore = "three runs of a minute each; `cargo xtask deep` has the time"]
fn fast_mode_learns_on_three_seeds() {
    let workspace = Workspace::new();
    let bleu = component("metric-bleu");
    component("metric-codebleu");
    let plugins = bleu.ancestors().nth(2).expect("plugins/metrics/bleu.wasm");
    for seed in ["1", "2", "3"] {
        let run = rlhf!(&workspace)
            .env("RLHF_PLUGIN_PATH", plugins)
            .args(["--mode", "fast", "--seed", seed, "--output-dir", seed])
            .timeout(std::time::Duration::from_secs(900))
            .run()
            .expect_code(0);
        println!(
            "seed {seed}: {:.0} s\n{}",
            run.elapsed.as_secs_f64(),
            run.stdout
        );
        let summary: Value = serde_json::from_str(&workspace.read(format!("{seed}/summary.json")))
            .expect("it is JSON");
        let intervals: Vec<(f64, f64)> = summary["evaluations"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|stage| {
                assert!(
                    stage["tasks"].as_u64() >= Some(200),
                    "too few held-out tasks"
                );
                let metrics = stage["metrics"].as_array().expect("a list");
                let bleu = metrics
                    .iter()
                    .find(|metric| metric["name"] == "bleu")
                    .expect("bleu");
                let end = |at: usize| bleu["interval"][at].as_f64().expect("a number");
                (end(0), end(1))
            })
            .collect();
        assert_eq!(intervals.len(), 3);
        for pair in intervals.windows(2) {
            assert!(pair[0].1 < pair[1].0, "seed {seed}: {intervals:?}");
        }
        let preferences = &summary["preferences"];
        let accuracy = |when: &str| preferences[when]["accuracy"].as_f64().expect("a number");
        assert!(
            accuracy("after") > accuracy("before") + 0.1,
            "seed {seed}: {preferences}"
        );
    }
}
