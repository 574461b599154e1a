"""One workload on a Llama folder as people run it in Python: torch, transformers, peft.

    training_peer.py WORKLOAD FOLDER [PLACE]    WORKLOAD: train, lora, generate-8, generate-1
                                                PLACE: cpu, cuda:f32, cuda:bf16, cuda:f16

For each line on stdin one measured unit, and one JSON line: seconds, tokens, the peak of the process'
RSS, or of the GPU's memory. In half precision training is mixed: autocast over weights in f32.
Needs torch 2.15.0, transformers 5.23.0, peft 0.21.2.
"""

import json
import os
import sys
import time

PLACE = sys.argv[3] if len(sys.argv) > 3 else "cpu"
if PLACE == "cpu":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers

SEQUENCES, LENGTH = 4, 256
PROMPT, NEW = 64, 128
DEVICE, _, TYPE = PLACE.partition(":")
HALF = {"bf16": torch.bfloat16, "f16": torch.float16}.get(TYPE)
LORA_LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def peak_mib():
    if DEVICE == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
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
    ids = ids.to(DEVICE)

    def step():
        with torch.autocast(DEVICE, dtype=HALF, enabled=HALF is not None):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return SEQUENCES * LENGTH

    return step


def generate(model, rows):
    model.eval()
    ids = torch.randint(3, model.config.vocab_size, (rows, PROMPT), generator=torch.Generator().manual_seed(2))
    ids = ids.to(DEVICE)
    if HALF is not None:
        model.to(HALF)

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
    workload, folder = sys.argv[1:3]
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(DEVICE)
    if workload.startswith("generate-"):
        unit = generate(model, int(workload.removeprefix("generate-")))
    else:
        unit = train(model, 16 if workload == "lora" else 0)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        tokens = unit()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "tokens": tokens, "peak_mib": peak_mib()}), flush=True)


if __name__ == "__main__":
    main()
