"""What transformers' tokenizers make of texts, for folders without a `tokenizer.json`."""

import json
import os
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"
import transformers
from transformers import AutoTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "..", "models")

TEXTS = [
    "def add(a, b):\n    return a + b\n",
    "import os\nfor f in os.listdir('.'):\n\tprint(f)  # tabs\r\n\r\n\n",
    "  leading and trailing  ",
    "x1234567 = 3.14e-10; y = 0xFF",
    "naïve café — ÀÉÎ ß Straße, e\u0301 (decomposed)",
    "日本語のテキスト 中文 한국어 🙂👩‍👩‍👧",
    "it's I'LL we've don't THEY'RE",
    "<s>prompt</s> and <pad><mask> [MASK] [CLS] <|endoftext|><|im_start|>user<extra>",
    "a <mask> b<mask>c",
    "UPPER lower MiXeD snake_case camelCase kebab-case",
    "",
    " ",
    "\u00a0\u2003\u200b\ufeff",
    "tail\\n\x00\x07",
]
PAIR = ("def f(x):", "return x")


def byte_level(source, out):
    tokenizer = json.load(open(os.path.join(source, "tokenizer.json")))
    specials = {token["content"] for token in tokenizer["added_tokens"]}
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, "vocab.json"), "w") as file:
        json.dump({t: i for t, i in tokenizer["model"]["vocab"].items() if t not in specials}, file, ensure_ascii=False)
    with open(os.path.join(out, "merges.txt"), "w") as file:
        file.write("#version: 0.2\n")
        for merge in tokenizer["model"]["merges"]:
            file.write((merge if isinstance(merge, str) else " ".join(merge)) + "\n")


def write(folder, name, value):
    with open(os.path.join(HERE, folder, name), "w") as file:
        json.dump(value, file, indent=1, ensure_ascii=False)
        file.write("\n")


def folders():
    # Qwen2's own published form: vocab.json + merges.txt, specials in tokenizer_config.json.
    byte_level(os.path.join(MODELS, "tiny-llama"), os.path.join(HERE, "qwen2"))
    special = lambda content: {
        "content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    write("qwen2", "tokenizer_config.json", {
        "add_prefix_space": False, "tokenizer_class": "Qwen2Tokenizer", "bos_token": None,
        "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None,
        "added_tokens_decoder": {"0": special("<|endoftext|>"), "1": special("<|im_start|>"), "2": special("<|im_end|>")},
        "model_max_length": 256,
    })
    with open(os.path.join(HERE, "qwen2", "vocab.json")) as file:
        vocab = json.load(file)
    # Published Qwen2 vocabularies begin at 0 and their specials follow.
    vocab = {token: number for number, token in enumerate(vocab)}
    n = len(vocab)
    with open(os.path.join(HERE, "qwen2", "vocab.json"), "w") as file:
        json.dump(vocab, file, ensure_ascii=False)
    config = json.load(open(os.path.join(HERE, "qwen2", "tokenizer_config.json")))
    config["added_tokens_decoder"] = {
        str(n + i): special(t) for i, t in enumerate(("<|endoftext|>", "<|im_start|>", "<|im_end|>"))}
    write("qwen2", "tokenizer_config.json", config)
    # GPT-2 with tokens of its user's.
    for name in ("vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json"):
        shutil.copyfile(os.path.join(MODELS, "tiny-gpt2-code", name), os.path.join(HERE, "gpt2-added", name))
    write("gpt2-added", "added_tokens.json", {"<extra>": 1024, "<|sep|>": 1025})
    write("gpt2-added", "config.json", {"model_type": "gpt2"})
    # BERT, uncased.
    letters = "abcdefghijklmnopqrstuvwxyz0123456789_-=+.,;:()[]<>'\"/\\#|—中文日本語"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + list(letters)
    pieces += ["##" + c for c in "abcdefghijklmnopqrstuvwxyz0123456789"]
    pieces += ["def", "return", "import", "for", "in", "add", "the", "leading", "##ing", "##ed", "snake", "case", "cafe", "naive"]
    with open(os.path.join(HERE, "bert", "vocab.txt"), "w") as file:
        file.write("\n".join(pieces) + "\n")
    write("bert", "tokenizer_config.json", {"do_lower_case": True, "model_max_length": 512})
    write("bert", "config.json", {"model_type": "bert"})


def record(path):
    tokenizer = AutoTokenizer.from_pretrained(path)
    rows = []
    for text in TEXTS:
        plain = tokenizer(text, add_special_tokens=False)["input_ids"]
        rows.append({
            "text": text,
            "ids": plain,
            "with_specials": tokenizer(text)["input_ids"],
            "decoded": tokenizer.decode(plain, skip_special_tokens=True, clean_up_tokenization_spaces=False),
        })
    return {"class": type(tokenizer).__name__, "rows": rows,
            "pair": tokenizer(*PAIR)["input_ids"], "length": len(tokenizer),
            "bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id, "pad": tokenizer.pad_token_id}


if __name__ == "__main__":
    folders()
    paths = {name: os.path.join(MODELS, name) for name in ("tiny-gpt2-code", "tiny-roberta", "tiny-llama")}
    paths |= {name: os.path.join(HERE, name) for name in ("qwen2", "gpt2-added", "bert")}
    expected = {"transformers": transformers.__version__, "pair": PAIR, "tokenizers": {k: record(p) for k, p in paths.items()}}
    with open(os.path.join(HERE, "expected.json"), "w") as file:
        json.dump(expected, file, indent=None, separators=(",", ":"), ensure_ascii=True)
        file.write("\n")
