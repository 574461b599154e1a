//! Adapters in PEFT's hands, and PEFT's in ours.
//!
//! The peer's Python is the one of `files.rs`: torch 2.15.0, transformers 5.23.0, peft 0.21.2.

use std::path::Path;

use candle_core::{DType, Tensor};
use rlhf::config::model::Lora;
use rlhf::models::peft::{self, Peft};
use rlhf::models::{CausalLm, LanguageModel, Model};
use serde_json::{Value, json};

use super::files::peer;
use super::*;

/// Last logits of `prompts` by the adapters in a folder, and by a merged model where one is named.
const LOAD: &str = r#"
import json, sys, torch, transformers, peft
torch.set_num_threads(1)
asked = json.load(sys.stdin)
base = transformers.AutoModelForCausalLM.from_pretrained(asked["base"], dtype=torch.float32)
adapted = peft.PeftModel.from_pretrained(base, sys.argv[1]).eval()
auto = peft.AutoPeftModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
merged = transformers.AutoModelForCausalLM.from_pretrained(asked["merged"], dtype=torch.float32).eval()
def logits(model):
    with torch.no_grad():
        return [model(torch.tensor([ids])).logits[0, -1].tolist() for ids in asked["prompts"]]
print(json.dumps({"adapted": logits(adapted), "auto": logits(auto), "merged": logits(merged)}))
"#;

/// Makes adapters with PEFT, saves them, and prints the last logits of `prompts`.
const MAKE: &str = r#"
import json, sys, torch, transformers, peft
torch.set_num_threads(1)
torch.manual_seed(5)
asked = json.load(sys.stdin)
base = transformers.AutoModelForCausalLM.from_pretrained(asked["base"], dtype=torch.float32)
model = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **asked["config"])).eval()
with torch.no_grad():
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.add_(0.05 * torch.randn_like(parameter))
    rows = [model(torch.tensor([ids])).logits[0, -1].tolist() for ids in asked["prompts"]]
model.save_pretrained(sys.argv[1], safe_serialization=asked["safe"])
print(json.dumps(rows))
"#;

const PROMPTS: [&[u32]; 3] = [&[5, 6, 7, 8, 9, 10], &[42], &[100, 20, 30, 77, 3]];

/// Relative above 1, absolute below.
#[track_caller]
fn check(what: &str, model: &LanguageModel, expected: &Value) {
    for (prompt, row) in PROMPTS.iter().zip(expected.as_array().expect("rows")) {
        let mut cache = model.cache(1, prompt.len()).expect("cache");
        let logits = model.prefill(&mut cache, &[(0, prompt)]).expect("forward");
        all_close(&values(&logits), &floats(row), what);
    }
}

/// Makes adapters say something: new ones change nothing.
fn shake(model: &mut LanguageModel) {
    for (number, parameter) in model.trainable_mut().into_iter().enumerate() {
        let count = parameter.value.elem_count();
        let noise = (0..count).map(|i| ((i * 7 + number * 3) % 23) as f32 / 230.0 - 0.05);
        let noise = Tensor::from_vec(noise.collect(), parameter.value.shape(), &device());
        parameter.value = (&parameter.value + noise.expect("fits")).expect("adds");
        assert_eq!(parameter.value.dtype(), DType::F32);
    }
}

fn absolute(folder: &Path) -> String {
    let path = folder.canonicalize().expect("there");
    path.display().to_string()
}

// Would catch names, scale, layout or targets that PEFT takes otherwise, and a merge that is not
// PEFT's sum.
#[test]
#[ignore = "needs a Python with torch, transformers and peft"]
fn our_adapters_load_in_peft() {
    if std::env::var_os("RLHF_PEER_PYTHON").is_none() {
        eprintln!("not run: RLHF_PEER_PYTHON is not set");
        return;
    }
    for name in LANGUAGE_MODELS {
        for targets in [&["all-linear"][..], &["q_proj", "v_proj"]] {
            if name.contains("gpt2") && targets.len() > 1 {
                continue;
            }
            let root = tempfile::tempdir().expect("temporary folder");
            let (adapter, merged) = (root.path().join("adapter"), root.path().join("merged"));
            let base = absolute(&golden(&format!("models/{name}")));
            let mut model = load(name);
            let lora = Lora {
                rank: 4,
                alpha: 10.0,
                target_modules: targets.iter().map(|t| (*t).to_owned()).collect(),
                ..Lora::default()
            };
            model.add_adapters(&lora, 1).expect("fits");
            shake(&mut model);
            peft::save(&adapter, model.backbone(), &base, "CAUSAL_LM").expect("saves");
            let mut whole = load(name);
            let peft = Peft::open(&adapter).expect("opens");
            peft.add_to(&mut whole).expect("loads");
            whole.absorb_adapters().expect("merges");
            whole.save(&merged, &|_| Ok(())).expect("saves");
            let asked = json!({"base": base, "merged": merged, "prompts": PROMPTS});
            let answer = peer(LOAD, &adapter, &asked);
            check(&format!("{name}: adapted"), &model, &answer["adapted"]);
            check(&format!("{name}: auto"), &model, &answer["auto"]);
            check(&format!("{name}: merged"), &model, &answer["merged"]);
            check(&format!("{name}: whole"), &whole, &answer["merged"]);
        }
    }
}

// Would catch adapters of PEFT's that are read otherwise than PEFT does: both scales, a pattern
// for the layers, safetensors and pickles.
#[test]
#[ignore = "needs a Python with torch, transformers and peft"]
fn pefts_adapters_load_here() {
    if std::env::var_os("RLHF_PEER_PYTHON").is_none() {
        eprintln!("not run: RLHF_PEER_PYTHON is not set");
        return;
    }
    for name in LANGUAGE_MODELS {
        let gpt2 = name.contains("gpt2");
        for (config, safe) in [
            (
                json!({"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}),
                true,
            ),
            (
                json!({"r": 9, "lora_alpha": 6, "use_rslora": true, "lora_dropout": 0.1,
                       "target_modules": if gpt2 { ".*1.*c_attn" } else { ".*1.*[qk]_proj" }}),
                false,
            ),
        ] {
            let root = tempfile::tempdir().expect("temporary folder");
            let base = absolute(&golden(&format!("models/{name}")));
            let asked = json!({"base": base, "config": config, "safe": safe, "prompts": PROMPTS});
            let expected = peer(MAKE, root.path(), &asked);
            let adapter = Peft::open(root.path()).expect("opens");
            assert_eq!(adapter.base(), base);
            let mut model = load(name);
            adapter.add_to(&mut model).expect("loads");
            check(&format!("{name}: {config}"), &model, &expected);
        }
    }
}
