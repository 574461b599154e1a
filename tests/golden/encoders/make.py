"""Makes the models of this folder, with random weights, and what transformers computes with them."""

import json
import os

import torch
import transformers
from transformers import BertConfig, BertForSequenceClassification
from transformers import RobertaConfig, RobertaForSequenceClassification

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPE = dict(
    vocab_size=60,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    max_position_embeddings=20,
    num_labels=1,
    initializer_range=0.3,
)
ROWS = [[2, 10, 11, 12, 13, 14, 3], [2, 20, 21, 3], [2, 30, 3]]


def make(name, model, padding):
    torch.manual_seed(0)
    for parameter in model.parameters():
        # Norms and biases as well: ones and zeros would hide much.
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.eval()
    model.save_pretrained(os.path.join(HERE, name))
    length = max(map(len, ROWS))
    ids = torch.tensor([row + [padding] * (length - len(row)) for row in ROWS])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in ROWS])
    out = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    weights = torch.tensor([1.0, -2.0, 0.5])
    (out.logits[:, 0] * weights).sum().backward()
    rounded = lambda t: [[[float(f"{x:.8g}") for x in token] for token in row] for row in t.tolist()]
    result = {
        "source": f"torch {torch.__version__}, transformers {transformers.__version__}, python make.py",
        "input_ids": ids.tolist(),
        "attention_mask": mask.tolist(),
        "hidden_states": [rounded(layer) for layer in out.hidden_states],
        "scores": out.logits[:, 0].tolist(),
        "loss_weights": weights.tolist(),
        "gradient_norms": {n: p.grad.norm().item() for n, p in model.named_parameters() if p.grad is not None},
    }
    with open(os.path.join(HERE, f"{name}.json"), "w") as file:
        json.dump(result, file, separators=(",", ":"))
        file.write("\n")


torch.manual_seed(1)
make("tiny-bert", BertForSequenceClassification(BertConfig(**SHAPE)), padding=0)
roberta = RobertaConfig(**SHAPE, type_vocab_size=1, pad_token_id=1, hidden_act="gelu_new")
make("tiny-roberta", RobertaForSequenceClassification(roberta), padding=1)
