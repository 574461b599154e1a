//! Does a run take the memory that its plan says?

use std::path::Path;

use candle_core::Device;
use rlhf::models::{LlamaConfig, Model};
use rlhf_test_support::{Run, Workspace, component, rlhf};

/// 35 million weights: enough to dwarf what the program itself takes.
fn model(workspace: &Workspace) -> String {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/models/tiny-llama");
    let text = std::fs::read_to_string(golden.join("config.json")).expect("golden file");
    let tiny: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let vocab_size = tiny["vocab_size"].as_u64().expect("a number") as usize;
    let config = LlamaConfig {
        vocab_size,
        hidden_size: 512,
        intermediate_size: 1536,
        num_hidden_layers: 10,
        num_attention_heads: 8,
        num_key_value_heads: 4,
        head_dim: 64,
        max_position_embeddings: 1024,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: true,
        bos_token_id: Some(1),
        eos_token_id: vec![2],
        pad_token_id: Some(2),
    };
    let model = config.init(1, &Device::Cpu).expect("fits");
    let folder = workspace.join("model");
    let tokenizer = |folder: &Path| {
        let name = "tokenizer.json";
        std::fs::copy(golden.join(name), folder.join(name)).map(drop)
    };
    model.save(&folder, &tokenizer).expect("there is room");
    "model".into()
}

/// Would catch a stage, a model or a method that the plan leaves out or counts twice, and gradient
/// checkpointing that saves nothing: what was planned is within 15 % of the peak that was
/// measured, and the peak with checkpointing is below the one without.
#[test]
#[ignore = "eight runs of some ten seconds each; `cargo xtask deep` has the time"]
fn plans_say_what_runs_take() {
    let workspace = Workspace::new();
    let bleu = component("metric-bleu");
    component("metric-codebleu");
    component("adapter-json");
    let plugins = bleu.ancestors().nth(2).expect("plugins/metrics/bleu.wasm");
    let model = model(&workspace);
    let words = |seed: usize, count: usize| -> String {
        let word = |at: usize| format!("v{} = {} + {at}\\n", at % 7, seed * 31 % 97);
        (0..count).map(word).collect()
    };
    let mut pairs = String::new();
    let mut tasks = String::new();
    for row in 0..40 {
        let [prompt, good, bad] =
            [(row, 4), (row + 1, 14), (row + 2, 14)].map(|(s, n)| words(s, n));
        pairs.push_str(&format!(
            "{{\"prompt\": \"{prompt}\", \"chosen\": \"{good}\", \"rejected\": \"{bad}\"}}\n"
        ));
        tasks.push_str(&format!(
            "{{\"prompt\": \"{prompt}\", \"response\": \"{good}\"}}\n"
        ));
    }
    workspace.write("pairs.jsonl", pairs);
    workspace.write("tasks.jsonl", tasks);
    workspace.write(
        "small.toml",
        "[training]\nsteps = 2\nbatch_size = 8\ngradient_accumulation_steps = 1\nmax_length = 512\n\
         [warm_up]\nsteps = 0\n[generation]\nmax_new_tokens = 64\nbatch_size = 8\n\
         [rollout]\nprompts_per_step = 4\nsamples_per_prompt = 4\n[evaluation]\ntasks_max = 8\n",
    );
    let call = |folder: &str, data: &str, more: &[&str]| -> Run {
        let shared = [
            "--mode",
            "fast",
            "--config",
            "small.toml",
            "--model-name",
            &model,
        ];
        rlhf!(&workspace)
            .env("RLHF_PLUGIN_PATH", plugins)
            .args(shared)
            .args(["--train-data-path", data, "--output-dir", folder])
            .args(more)
            .timeout(std::time::Duration::from_secs(900))
            .run()
            .expect_code(0)
    };
    let mut peaks = Vec::new();
    let mut wrong = Vec::new();
    for (name, data, more) in [
        ("dpo", "pairs.jsonl", &["--method", "dpo"][..]),
        (
            "dpo-checkpointed",
            "pairs.jsonl",
            &["--method", "dpo", "--gradient-checkpointing"],
        ),
        (
            "dpo-lora",
            "pairs.jsonl",
            &["--method", "dpo", "--lora-rank", "8"],
        ),
        (
            "dpo-lora-bf16",
            "pairs.jsonl",
            &["--method", "dpo", "--lora-rank", "8", "--precision", "bf16"],
        ),
        ("sft", "tasks.jsonl", &["--method", "sft"]),
        (
            "ppo",
            "tasks.jsonl",
            &["--method", "ppo", "--plugin", "bleu,weight=1"],
        ),
        (
            "ppo-lora",
            "tasks.jsonl",
            &[
                "--method",
                "ppo",
                "--plugin",
                "bleu,weight=1",
                "--lora-rank",
                "8",
            ],
        ),
        (
            "grpo",
            "tasks.jsonl",
            &["--method", "grpo", "--plugin", "bleu,weight=1"],
        ),
    ] {
        let plan = call(name, data, &[more, &["--dry-run"]].concat());
        let line = plan
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("memory"));
        let line = line
            .unwrap_or_else(|| panic!("no memory in the plan\n{plan}"))
            .trim();
        let number = line
            .strip_prefix("at most ")
            .and_then(|rest| rest.split(' ').next());
        let planned: f64 = number
            .and_then(|n| n.parse().ok())
            .unwrap_or_else(|| panic!("{line}"));
        let run = call(name, data, more);
        let peak = run.peak_bytes.expect("Linux tells") as f64 / 1e6;
        println!(
            "{name}: planned {planned:.0} MB, peak {peak:.0} MB ({:.2} x)\n  {line}",
            planned / peak
        );
        if (planned / peak - 1.0).abs() > 0.15 {
            wrong.push(format!("{name}: planned {planned:.0}, peak {peak:.0} MB"));
        }
        peaks.push(peak);
    }
    assert!(
        peaks[1] < peaks[0],
        "checkpointing saves nothing: {peaks:?}"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
