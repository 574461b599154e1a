//! The peer reads what we write.

use std::process::Command;

use rlhf::models::Model;
use rlhf::tokenizer::Tokenizer;

use super::dpo::check_steps;
use super::forward::greedy_ids;
use super::*;

const PEER: &str = r#"
import json, sys, torch, transformers
torch.set_num_threads(1)
folder = sys.argv[1]
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
out = []
for prompt in json.load(sys.stdin):
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    new = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False, eos_token_id=None)
    out.append({"prompt": ids[0].tolist(), "new": new[0, ids.shape[1]:].tolist(),
                "text": tokenizer.decode(new[0, ids.shape[1]:], skip_special_tokens=True)})
print(json.dumps(out))
"#;

// Would catch a saved folder that transformers reads otherwise than we do. Runs only where
// `RLHF_PEER_PYTHON` is set.
#[test]
fn a_saved_folder_loads_in_transformers() {
    let Some(python) = std::env::var_os("RLHF_PEER_PYTHON") else {
        return;
    };
    let expected = json("training/forward/tiny-llama.json");
    let root = tempfile::tempdir().expect("temporary folder");
    let folder = root.path().join("saved");
    let tokenizer = Tokenizer::from_folder(&golden("models/tiny-llama")).expect("loads");
    // Trained weights, so that the test does not pass on the folder it started from.
    let model = check_steps("tiny-llama", 1.0, "clip1.0", 8, 1);
    model
        .save(&folder, &|folder| tokenizer.save(folder))
        .expect("saves");
    let mut child = Command::new(python)
        .args(["-c", PEER])
        .arg(&folder)
        .env("HF_HUB_OFFLINE", "1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the peer's Python starts");
    serde_json::to_writer(child.stdin.take().expect("piped"), &expected["prompts"])
        .expect("writes");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "the peer failed");
    let peer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for answer in peer.as_array().expect("a list") {
        let ours = greedy_ids(&model, &[ids(&answer["prompt"])], 24, 1);
        assert_eq!(ours[0], ids(&answer["new"]));
        assert_eq!(tokenizer.decode(&ours[0]), answer["text"]);
    }
}
