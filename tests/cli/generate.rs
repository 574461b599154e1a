//! Does `rlhf generate` answer, stream, search, stop and refuse as it says?

use candle_core::Device;
use rlhf::config::model::Lora;
use rlhf::models::{self, Model, peft};
use rlhf_test_support::{Run, Workspace, rlhf};
use serde_json::Value;

fn model(name: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    folder.join(name).display().to_string()
}

fn generate(workspace: &Workspace, arguments: &[&str]) -> Run {
    let model = model("models/tiny-llama");
    let mut all = vec!["generate", "--device", "cpu"];
    if !arguments.contains(&"--model-name") {
        all.extend(["--model-name", &model]);
    }
    all.extend(arguments);
    rlhf!(workspace).env("HF_HUB_OFFLINE", "1").args(all).run()
}

fn lines(run: &Run) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).expect("a JSON line");
    run.stdout.lines().map(parse).collect()
}

/// The prompts of the forward goldens and what transformers' greedy search makes of them.
fn golden() -> (Vec<String>, Vec<String>) {
    let text = std::fs::read_to_string(model("training/forward/tiny-llama.json"));
    let golden: Value = serde_json::from_str(&text.expect("golden file")).expect("JSON");
    let texts = |key: &str| {
        let all = golden[key].as_array().expect("a list").iter();
        all.map(|text| text.as_str().expect("a text").to_owned())
            .collect()
    };
    (texts("prompts"), texts("greedy_text"))
}

/// Would catch text that is lost, doubled or cut on its way to the terminal.
#[test]
fn one_prompt_is_streamed() {
    let workspace = Workspace::new();
    let (prompts, texts) = golden();
    for (prompt, text) in prompts.iter().zip(&texts) {
        let arguments = [
            "--prompt",
            prompt,
            "--temperature",
            "0",
            "--max-new-tokens",
            "16",
        ];
        let run = generate(&workspace, &arguments).expect_code(0);
        assert_eq!(run.stdout, format!("{text}\n"));
        assert_eq!(run.stderr, "");
    }
}

/// Would catch rows that lose their fields or their order, samples that repeat each other, and a
/// seed that does not decide.
#[test]
fn many_prompts_are_lines() {
    let workspace = Workspace::new();
    let (prompts, texts) = golden();
    let rows: Vec<String> = prompts
        .iter()
        .enumerate()
        .map(|(id, prompt)| serde_json::json!({"id": id, "prompt": prompt}).to_string())
        .collect();
    workspace.write("prompts.jsonl", rows.join("\n"));
    let greedy = [
        "--prompts",
        "prompts.jsonl",
        "--temperature",
        "0",
        "--max-new-tokens",
        "16",
    ];
    let answers = lines(&generate(&workspace, &greedy).expect_code(0));
    assert_eq!(answers.len(), 3);
    for (id, (answer, text)) in answers.iter().zip(&texts).enumerate() {
        assert_eq!(
            (&answer["id"], &answer["response"]),
            (&id.into(), &text.as_str().into())
        );
        assert_eq!(
            (&answer["tokens"], &answer["finish"]),
            (&16.into(), &"length".into())
        );
        assert!(answer["logprob"].as_f64().expect("a number") < 0.0);
    }
    let sampled = |seed: &str| {
        let arguments = [
            "--prompts",
            "prompts.jsonl",
            "--num-return-sequences",
            "2",
            "--max-new-tokens",
            "8",
            "--min-p",
            "0.01",
            "--repetition-penalty",
            "1.1",
            "--seed",
            seed,
        ];
        generate(&workspace, &arguments).expect_code(0).stdout
    };
    let first = sampled("1");
    assert_eq!(first, sampled("1"));
    assert_ne!(first, sampled("2"));
    assert_eq!(first.lines().count(), 6);
}

/// Would catch a stop text that is printed or passed over, and beams that are not searched.
#[test]
fn stops_and_beams() {
    let workspace = Workspace::new();
    let (prompts, texts) = golden();
    let stop: String = texts[0].chars().skip(3).take(2).collect();
    let arguments = [
        "--prompt",
        &prompts[0],
        "--temperature",
        "0",
        "--stop",
        &stop,
    ];
    let run = generate(&workspace, &arguments).expect_code(0);
    let before = texts[0].split(&stop).next().expect("a first part");
    assert_eq!(run.stdout, format!("{before}\n"));

    workspace.write("prompts.txt", "def f(x):\nx = 1\n");
    let search = |more: &[&str]| {
        let mut arguments = vec!["--prompts", "prompts.txt", "--max-new-tokens", "8"];
        arguments.extend(more);
        lines(&generate(&workspace, &arguments).expect_code(0))
    };
    let beams = search(&["--num-beams", "4", "--num-return-sequences", "2"]);
    let greedy = search(&["--temperature", "0"]);
    let logprob = |answer: &Value| answer["logprob"].as_f64().expect("a number");
    assert_eq!(beams.len(), 4);
    for (pair, greedy) in beams.chunks(2).zip(&greedy) {
        assert!(logprob(&pair[0]) >= logprob(&pair[1]));
        assert!(logprob(&pair[0]) >= logprob(greedy) - 1e-4);
    }
}

/// Would catch conversations that reach the model without its template.
#[test]
fn chats_go_through_the_template() {
    let workspace = Workspace::new();
    let written = "<|im_start|>user\nadd two<|im_end|>\n<|im_start|>assistant\n";
    let greedy = ["--temperature", "0", "--max-new-tokens", "6"];
    let run = |more: &[&str]| {
        generate(&workspace, &[&greedy[..], more].concat())
            .expect_code(0)
            .stdout
    };
    let expected = run(&["--prompt", written]);
    assert_eq!(run(&["--prompt", "add two", "--chat"]), expected);
    assert_ne!(run(&["--prompt", "add two"]), expected);
    workspace.write(
        "chats.jsonl",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"add two\"}]}\n",
    );
    let line: Value = serde_json::from_str(&run(&["--prompts", "chats.jsonl"])).expect("JSON");
    assert_eq!(
        format!("{}\n", line["response"].as_str().expect("a text")),
        expected
    );
    // A GGUF file is a whole model, template included.
    let gguf = model("gguf/tiny.gguf");
    let of_gguf = run(&["--model-name", &gguf, "--prompt", "add two", "--chat"]);
    assert_eq!(of_gguf, run(&["--model-name", &gguf, "--prompt", written]));
}

/// Would catch a mistake that ends in a panic, a trace or silence.
#[test]
fn mistakes_are_named() {
    let workspace = Workspace::new();
    workspace.write("empty.jsonl", "\n");
    workspace.write("bad.jsonl", "{\"prompt\": \"x\"}\n{\"text\": \"y\"}\n");
    let check = |arguments: &[&str], expected: &str| {
        let run = generate(&workspace, arguments)
            .expect_code(2)
            .expect_stderr(expected);
        assert_eq!(run.stdout, "");
    };
    check(&[], "--prompt <TEXT>");
    check(&["--prompt", "x", "--prompts", "y"], "cannot be used with");
    check(&["--prompt", ""], "prompt 1 is empty\nhint: ");
    check(
        &["--prompts", "no.jsonl"],
        "prompts `no.jsonl`: No such file",
    );
    check(
        &["--prompts", "empty.jsonl"],
        "prompts `empty.jsonl` has no prompts\nhint: ",
    );
    check(
        &["--prompts", "bad.jsonl"],
        "prompts `bad.jsonl`, line 2: expected a text in `prompt`",
    );
    check(
        &["--prompt", "x", "--top-p", "0"],
        "`generation.top_p` is 0; expected above 0, up to 1",
    );
    check(
        &["--prompt", "x", "--min-p", "2"],
        "`generation.min_p` is 2; expected 0 to 1",
    );
    check(
        &["--prompt", "x", "--num-beams", "4", "--temperature", "1"],
        "cannot be used with",
    );
    check(
        &[
            "--prompt",
            "x",
            "--num-beams",
            "2",
            "--num-return-sequences",
            "3",
        ],
        "a search with `--num-beams 2` finds no more than 2\nhint: ",
    );
    check(
        &["--prompt", &"x ".repeat(400)],
        "the model sees 256, response included\nhint: ",
    );
    check(
        &["--prompt", "x", "--model-name", "no/such"],
        "HF_HUB_OFFLINE is set",
    );
    check(
        &["--prompt", "x", "--model-name", "builtin:tiny"],
        "hint: there is `builtin:tiny-code`",
    );
    check(
        &[
            "--prompt",
            "x",
            "--chat",
            "--model-name",
            "builtin:tiny-code",
        ],
        "has no chat template\nhint: ",
    );
    let attack = workspace.join("attack");
    std::fs::create_dir(&attack).expect("a folder");
    for file in ["config.json", "tokenizer.json"] {
        let from = model("models/tiny-llama");
        std::fs::copy(format!("{from}/{file}"), attack.join(file)).expect("copies");
    }
    std::fs::copy(
        model("weights/attack.bin"),
        attack.join("pytorch_model.bin"),
    )
    .expect("copies");
    check(
        &["--prompt", "x", "--model-name", "attack"],
        "pytorch_model.bin` asks for `posix.system`: refused\nhint: ",
    );
}

/// Would catch adapters that are passed over, a model of theirs that is not found, and a merge
/// that says something else.
#[test]
fn adapters_answer_with_their_model() {
    let workspace = Workspace::new();
    let base = model("models/tiny-llama");
    let mut adapted = models::load(base.as_ref(), &Device::Cpu).expect("loads");
    let lora = Lora {
        rank: 2,
        ..Lora::default()
    };
    adapted.add_adapters(&lora, 1).expect("fits");
    for parameter in adapted.trainable_mut() {
        parameter.value = (&parameter.value + 0.05).expect("adds");
    }
    let save = |folder: &str, base: &str| {
        let folder = workspace.join(folder);
        peft::save(&folder, adapted.backbone(), base, "CAUSAL_LM").expect("saves");
    };
    save("adapter", &base);
    let ask = |name: &str| {
        let prompt = ["--prompt", "def add(a, b):", "--temperature", "0"];
        let rest = ["--max-new-tokens", "16", "--model-name", name];
        generate(&workspace, &[&prompt[..], &rest].concat())
    };
    let say = |name: &str| ask(name).expect_code(0).stdout;
    let with = say("adapter");
    assert_ne!(say(&base), with);
    let merge = |name: &str| {
        let arguments = ["merge", "--model-name", name, "--output-dir", "merged"];
        rlhf!(&workspace).args(arguments).run()
    };
    let merged = merge("adapter").expect_code(0);
    assert_eq!(merged.stdout, "merged\n");
    assert_eq!(say("merged"), with);
    merge("adapter")
        .expect_code(2)
        .expect_stderr("`merged` is not empty");
    merge(&base)
        .expect_code(2)
        .expect_stderr("is a whole model; expected adapters");
    save("astray", "nobody/nowhere");
    ask("astray")
        .expect_code(2)
        .expect_stderr("adapter `astray`: its model `nobody/nowhere` is not in the cache")
        .expect_stderr("hint: write where the model is into `base_model_name_or_path`");
}
