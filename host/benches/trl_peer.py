"""One of TRL's trainers on a Llama folder, in f32, all weights trained.

    trl_peer.py WORKLOAD FOLDER        WORKLOAD: dpo, ppo, grpo

One JSON line when the first step could begin, then for each line on stdin one step, and one JSON line: seconds,
tokens, the process' peak RSS. Texts are words `tN`, a token each. Needs torch 2.15.0, transformers 5.23.0 and TRL
1.16.0; ppo needs TRL 1.10.0, the last with a PPOTrainer.
"""

import json
import os
import sys
import tempfile
import time

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Trainers print: the lines that count have a stream of their own.
REPLIES = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import torch
import transformers
from datasets import Dataset

PAIRS, LENGTH = 4, 256
PPO_PROMPTS = 8
GRPO_PROMPTS, GRPO_SAMPLES = 4, 4
PROMPT, NEW = 32, 64
STEPS_AN_EPOCH, STEPS = 2, 1000


def reply(**fields):
    print(json.dumps(fields), file=REPLIES, flush=True)


def peak_mib():
    with open("/proc/self/status", encoding="utf-8") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0


class Paced(transformers.TrainerCallback):
    """Waits for a line before each step and tells after it how long it took."""

    def __init__(self, tokens):
        self.tokens = tokens
        self.begun = None

    def wait(self):
        if not sys.stdin.readline():
            os._exit(0)
        self.begun = time.perf_counter()

    def on_step_begin(self, args, state, control, **kwargs):
        # PPOTrainer doesn't call it: its first step begins with the training.
        if self.begun is None:
            reply(ready=True)
            self.wait()

    def on_train_begin(self, args, state, control, **kwargs):
        if type(args).__name__ == "PPOConfig":
            self.on_step_begin(args, state, control)

    def on_step_end(self, args, state, control, **kwargs):
        seconds = time.perf_counter() - self.begun
        reply(seconds=seconds, tokens=self.tokens, peak_mib=peak_mib())
        self.wait()


def words(count, generator):
    ids = torch.randint(100, 49_000, (count,), generator=generator)
    return " ".join(f"t{i}" for i in ids.tolist())


def causal(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def settings(**more):
    return dict(
        output_dir=tempfile.mkdtemp(),
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
        fp16=False,
        learning_rate=1e-5,
        lr_scheduler_type="constant",
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        **more,
    )


def dpo(folder, tokenizer, generator):
    from trl import DPOConfig, DPOTrainer

    half = LENGTH // 2
    # A blank keeps the words apart where prompt and response are joined; the last token is the end's.
    row = lambda: {
        "prompt": words(half, generator) + " ",
        "chosen": words(half - 1, generator),
        "rejected": words(half - 1, generator),
    }
    rows = Dataset.from_list([row() for _ in range(STEPS_AN_EPOCH * PAIRS)])
    args = DPOConfig(**settings(per_device_train_batch_size=PAIRS, max_steps=STEPS, max_length=LENGTH, beta=0.1))
    paced = Paced(2 * PAIRS * LENGTH)
    return DPOTrainer(
        model=causal(folder), args=args, train_dataset=rows, processing_class=tokenizer, callbacks=[paced]
    )


class Constant(torch.nn.Module):
    """What PPOTrainer takes for a reward model: nearly free, and different for each response."""

    base_model_prefix = "backbone"

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def backbone(self, input_ids, **kwargs):
        states = (input_ids % 2).unsqueeze(-1).float()
        return transformers.modeling_outputs.BaseModelOutput(last_hidden_state=states, hidden_states=(states,))

    def score(self, states):
        return states.mean(dim=1, keepdim=True).expand_as(states)


def ppo(folder, tokenizer, generator):
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    tokenizer.padding_side = "left"
    rows = [tokenizer(words(PROMPT, generator))["input_ids"] for _ in range(STEPS_AN_EPOCH * PPO_PROMPTS)]
    rows = Dataset.from_list([{"input_ids": ids} for ids in rows])
    value = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)
    args = PPOConfig(
        **settings(
            per_device_train_batch_size=PPO_PROMPTS,
            gradient_accumulation_steps=1,
            num_mini_batches=1,
            num_ppo_epochs=2,
            response_length=NEW,
            total_episodes=STEPS * PPO_PROMPTS,
            local_rollout_forward_batch_size=PPO_PROMPTS,
            num_sample_generations=0,
            temperature=1.0,
            kl_coef=0.05,
            stop_token=None,
        )
    )
    return PPOTrainer(
        args=args,
        processing_class=tokenizer,
        model=causal(folder),
        ref_model=causal(folder),
        reward_model=Constant(),
        value_model=value,
        train_dataset=rows,
        eval_dataset=rows,
        callbacks=[Paced(PPO_PROMPTS * NEW)],
    )


def grpo(folder, tokenizer, generator):
    from trl import GRPOConfig, GRPOTrainer

    def even(completion_ids, **kwargs):
        return [sum(i % 2 == 0 for i in ids) / len(ids) for ids in completion_ids]

    rows = Dataset.from_list([{"prompt": words(PROMPT, generator)} for _ in range(STEPS_AN_EPOCH * GRPO_PROMPTS)])
    args = GRPOConfig(
        **settings(
            per_device_train_batch_size=GRPO_PROMPTS * GRPO_SAMPLES,
            num_generations=GRPO_SAMPLES,
            max_completion_length=NEW,
            max_steps=STEPS,
            temperature=1.0,
            beta=0.0,
            generation_kwargs={"min_new_tokens": NEW},
        )
    )
    paced = Paced(GRPO_PROMPTS * GRPO_SAMPLES * NEW)
    return GRPOTrainer(
        model=causal(folder), args=args, train_dataset=rows, processing_class=tokenizer, reward_funcs=even, callbacks=[paced]
    )


def main():
    workload, folder = sys.argv[1:]
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    trainer = {"dpo": dpo, "ppo": ppo, "grpo": grpo}[workload](folder, tokenizer, torch.Generator().manual_seed(1))
    trainer.train()


if __name__ == "__main__":
    main()
