"""Distributions after transformers' logits processors, and its beam search, on fixed numbers and tiny models."""

import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers
from transformers import (
    AutoModelForCausalLM, LogitsProcessorList, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper,
)

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "..", "models")
torch.manual_seed(0)
torch.set_num_threads(1)


def processors(case):
    """In the order of `GenerationMixin._get_logits_processor`."""
    all = LogitsProcessorList()
    if case.get("repetition_penalty", 1.0) != 1.0:
        all.append(RepetitionPenaltyLogitsProcessor(penalty=case["repetition_penalty"]))
    if case.get("temperature", 1.0) != 1.0:
        all.append(TemperatureLogitsWarper(case["temperature"]))
    if case.get("top_k", 0) > 0:
        all.append(TopKLogitsWarper(top_k=case["top_k"]))
    if case.get("top_p", 1.0) < 1.0:
        all.append(TopPLogitsWarper(top_p=case["top_p"]))
    if case.get("min_p", 0.0) > 0.0:
        all.append(MinPLogitsWarper(min_p=case["min_p"]))
    return all


CASES = [
    {}, {"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.8}, {"min_p": 0.1}, {"repetition_penalty": 1.3},
    {"temperature": 1.5, "top_p": 0.6}, {"temperature": 0.5, "top_k": 12, "top_p": 0.9},
    {"temperature": 1.2, "min_p": 0.05}, {"temperature": 0.8, "top_k": 20, "top_p": 0.95, "min_p": 0.02},
    {"repetition_penalty": 1.8, "temperature": 0.9, "top_k": 8, "top_p": 0.7, "min_p": 0.03},
    {"repetition_penalty": 0.7, "top_p": 0.9}, {"top_k": 1}, {"top_p": 0.01}, {"min_p": 0.999},
]


def distributions():
    rows = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(40, generator=generator) * 2.5
        context = torch.randint(0, 40, (9,), generator=generator)
        for case in CASES:
            scores = processors(case)(context[None], logits[None].clone())
            rows.append({**case, "logits": logits.tolist(), "context": context.tolist(),
                         "probabilities": torch.softmax(scores, -1)[0].tolist()})
    return rows


BEAMS = [
    {"num_beams": 2}, {"num_beams": 4}, {"num_beams": 4, "num_return_sequences": 3},
    {"num_beams": 3, "length_penalty": 0.0}, {"num_beams": 3, "length_penalty": 2.0},
    {"num_beams": 4, "early_stopping": True}, {"num_beams": 4, "early_stopping": "never"},
    {"num_beams": 3, "repetition_penalty": 1.4}, {"num_beams": 5, "max_new_tokens": 3},
    # The end of a sequence that a tiny model does reach.
    {"num_beams": 3, "eos_token_id": "frequent"}, {"num_beams": 4, "eos_token_id": "frequent", "length_penalty": 2.0},
    {"num_beams": 4, "eos_token_id": "frequent", "early_stopping": True, "num_return_sequences": 4},
    {"num_beams": 2, "eos_token_id": "frequent", "early_stopping": "never", "length_penalty": -1.0},
]


def beams():
    rows = []
    for name in ("tiny-llama", "tiny-gpt2-code"):
        model = AutoModelForCausalLM.from_pretrained(os.path.join(MODELS, name), dtype=torch.float32).eval()
        golden = json.load(open(os.path.join(HERE, "..", "training", "forward", "tiny-llama.json")))
        prompts = golden["input_ids_per_prompt"][:2]
        for prompt in prompts:
            ids = torch.tensor([prompt])
            free = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False,
                                  num_beams=4, eos_token_id=None, pad_token_id=0)[0, len(prompt):].tolist()
            frequent = [free[3], free[7]]
            for case in BEAMS:
                options = {"max_new_tokens": 12, **case}
                if options.get("eos_token_id") == "frequent":
                    options["eos_token_id"] = frequent
                else:
                    options["eos_token_id"] = 2
                out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=0,
                                     return_dict_in_generate=True, output_scores=True, **options)
                sequences = []
                for row, score in zip(out.sequences, out.sequences_scores):
                    new = row[len(prompt):].tolist()
                    ends = [i for i, t in enumerate(new) if t in (options["eos_token_id"] if isinstance(options["eos_token_id"], list) else [options["eos_token_id"]])]
                    if ends:
                        new = new[: ends[0] + 1]
                    sequences.append({"ids": new, "score": score.item()})
                rows.append({"model": name, "prompt": prompt, "options": options, "sequences": sequences})
    return rows


if __name__ == "__main__":
    out = {"transformers": transformers.__version__, "distributions": distributions(), "beams": beams()}
    with open(os.path.join(HERE, "expected.json"), "w") as file:
        json.dump(out, file)
        file.write("\n")
