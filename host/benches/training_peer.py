"""One workload on a Llama folder as people run it in Python: torch, transformers, peft.

    training_peer.py WORKLOAD FOLDER        WORKLOAD: train, lora, generate-8, generate-1

For each line on stdin one measured unit, and one JSON line: seconds, tokens, the process' peak RSS.
Needs torch 2.15.0, transformers 5.23.0, peft 0.21.2.
"""

import json
import os
import sys
import time

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers

SEQUENCES, LENGTH = 4, 256
PROMPT, NEW = 64, 128
LORA_LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def peak_mib():
    with open("/proc/self/status", encoding="utf-8") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0


def train(model, rank):
    if rank:
        import peft

        config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LORA_LAYERS, task_type="CAUSAL_LM")
        model = peft.get_peft_model(model, config)
    model.train()
    model.config.use_cache = False
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, weight_decay=0.0, fused=True)
    ids = torch.randint(0, model.config.vocab_size, (SEQUENCES, LENGTH), generator=torch.Generator().manual_seed(1))

    def step():
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return SEQUENCES * LENGTH

    return step


def generate(model, rows):
    model.eval()
    ids = torch.randint(3, model.config.vocab_size, (rows, PROMPT), generator=torch.Generator().manual_seed(2))

    def run():
        with torch.no_grad():
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                temperature=0.8,
                top_k=50,
                top_p=0.95,
                min_new_tokens=NEW,
                max_new_tokens=NEW,
                pad_token_id=0,
            )
        assert out.shape == (rows, PROMPT + NEW)
        return rows * NEW

    return run


def main():
    workload, folder = sys.argv[1:]
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if workload.startswith("generate-"):
        unit = generate(model, int(workload.removeprefix("generate-")))
    else:
        unit = train(model, 16 if workload == "lora" else 0)
    for _ in sys.stdin:
        start = time.perf_counter()
        tokens = unit()
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "tokens": tokens, "peak_mib": peak_mib()}), flush=True)


if __name__ == "__main__":
    main()
