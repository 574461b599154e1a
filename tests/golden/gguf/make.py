"""Makes GGUF files of the tiny Llama and of every block type, and what transformers and gguf see in them."""

import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"
import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Q
from safetensors.numpy import load_file

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = os.path.join(HERE, "..", "models", "tiny-llama")
PROMPTS = ["def add(a, b):\n    return", "x = [1, 2, 3]\n# reverse <|im_end|>\n"]


def permute(weights, heads):
    """llama.cpp's order of the rows of queries and keys (convert_hf_to_gguf.py)."""
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weights.shape)


def tiny():
    config = json.load(open(os.path.join(TINY, "config.json")))
    tokenizer = json.load(open(os.path.join(TINY, "tokenizer.json")))
    weights = load_file(os.path.join(TINY, "model.safetensors"))
    writer = gguf.GGUFWriter(os.path.join(HERE, "tiny.gguf"), "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_vocab_size(config["vocab_size"])
    vocab = tokenizer["model"]["vocab"]
    tokens = [token for token, _ in sorted(vocab.items(), key=lambda item: item[1])]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    special = {token["content"] for token in tokenizer["added_tokens"]}
    writer.add_token_types([gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(0)
    writer.add_chat_template(open(os.path.join(TINY, "chat_template.jinja")).read())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, value in weights.items():
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if ".q_proj." in name:
            value = permute(value, config["num_attention_heads"])
        if ".k_proj." in name:
            value = permute(value, config["num_key_value_heads"])
        kind = Q.F32
        if value.ndim == 2:
            kind = Q.Q8_0 if "embed" in name else Q.F16 if "down_proj" in name else Q.BF16 if "o_proj" in name else Q.Q4_1
        writer.add_tensor(target, gguf.quants.quantize(value, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def blocks():
    """Two rows of each type; blocks that Python can't make are random bytes with scales of a sane size."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 512)).astype(np.float32)
    writer = gguf.GGUFWriter(os.path.join(HERE, "blocks.gguf"), "llama")
    expected = {}
    for kind in (Q.F32, Q.F16, Q.BF16, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0, Q.Q2_K, Q.Q3_K, Q.Q4_K, Q.Q5_K, Q.Q6_K):
        try:
            data = gguf.quants.quantize(values, kind)
        except NotImplementedError:
            block, size = gguf.GGML_QUANT_SIZES[kind]
            data = rng.integers(0, 256, size=(2, values.shape[1] // block, size), dtype=np.uint8)
            scale = np.frombuffer(np.float16(0.011).tobytes() + np.float16(0.07).tobytes(), np.uint8)
            # Where each type keeps its one or two f16 scales (ggml-common.h).
            where = {Q.Q2_K: (80, 4), Q.Q3_K: (108, 2), Q.Q4_K: (0, 4), Q.Q5_K: (0, 4), Q.Q6_K: (208, 2)}[kind]
            data[:, :, where[0]:where[0] + where[1]] = scale[: where[1]]
            data = data.reshape(2, -1)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        expected[kind.name] = gguf.quants.dequantize(data, kind).astype(np.float32).flatten().tolist()
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


def peer(folder, file):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
    rows = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1]
        rows.append({"prompt": prompt, "ids": ids, "logits": logits.tolist()})
    return rows


if __name__ == "__main__":
    tiny()
    expected = {"gguf": "0.19.0", "transformers": transformers.__version__, "blocks": blocks(), "tiny": peer(HERE, "tiny.gguf")}
    with open(os.path.join(HERE, "expected.json"), "w") as file:
        json.dump(expected, file)
        file.write("\n")
