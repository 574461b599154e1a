"""Makes cases.jsonl: bert-score 0.3.13's numbers for a tiny RoBERTa.

    pip install bert-score==0.3.13 transformers==4.57.1 torch==2.15.0
    python make.py > cases.jsonl

The model is tests/golden/models/tiny-roberta (random weights, two layers). float32 on the CPU, one
thread, batch size 64.
"""

import json
import os
import pathlib
import random

os.environ["HF_HUB_OFFLINE"] = "1"
here = pathlib.Path(__file__).resolve().parent

import torch
import bert_score

torch.set_num_threads(1)
model = str(here / "../../../tests/golden/models/tiny-roberta")
pairs = [json.loads(line) for line in open(here / "../../metric-bleu/golden/humaneval.jsonl", encoding="utf-8")]
cases = [(pair["id"], pair["prediction"], [pair["reference"]]) for pair in pairs[:24]]
random.seed(7)
cases += [
    ("empty prediction", "", ["return a"]),
    ("blank prediction", " \t\n", ["return a"]),
    ("empty reference", "return a", [""]),
    ("both empty", "", [""]),
    ("equal", "return a + b", ["return a + b"]),
    ("edges are stripped", "\n  return a + b \x1f\u00a0", ["return a + b"]),
    ("several references", "return a + b", ["return a - b", "x", "return a + b + c"]),
    ("one reference of several is empty", "return a", ["", "return b"]),
    ("special tokens in the text", "a </s> b", ["<s> a b </s>"]),
    ("not ASCII", "naïve – 日本語 🦀", ["naive - 日本 🦀🦀"]),
    ("control characters", "a\x00b\x01c", ["a b c"]),
    ("too long", " ".join(random.choices("return if else for x y z ( ) + -".split(), k=900)),
     [" ".join(random.choices("return if else for x y z ( ) + -".split(), k=900))]),
]
ids, predictions, references = zip(*cases)
scorers = {
    "layer 2": dict(num_layers=2, idf=False),
    "layer 1": dict(num_layers=1, idf=False),
    "layer 2, idf": dict(num_layers=2, idf=True),
}
scores = {}
for name, options in scorers.items():
    found = bert_score.score(list(predictions), list(references), model_type=model, nthreads=0, batch_size=64, device="cpu", **options)
    scores[name] = torch.stack(found, 1).tolist()
for at, (name, prediction, reference) in enumerate(cases):
    line = {"id": name, "prediction": prediction, "references": reference}
    line["expected"] = {scorer: scores[scorer][at] for scorer in scorers}
    print(json.dumps(line))
