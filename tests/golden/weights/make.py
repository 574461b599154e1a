"""Makes the files of this folder: torch's views, types and forms, and what torch sees in them."""

import collections
import hashlib
import json
import os
import sys

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "..", "models")


def views():
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 7 - 1
    module = torch.nn.Module()
    state = module.state_dict()  # an OrderedDict with `_metadata`
    state["base"] = base
    state["same"] = base.view(-1)
    state["transposed"] = base.t()
    state["rows"] = base[1:3]
    state["grid"] = base[1:, ::2]
    state["cube"] = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4).permute(2, 0, 1)
    state["scalar"] = torch.tensor(-2.5)
    state["empty"] = torch.empty(0, 3)
    state["parameter"] = torch.nn.Parameter(base[0] * 3)
    state["f64"] = base.double() / 3
    state["f16"] = (base / 3).half()
    state["bf16"] = (base / 3).bfloat16()
    state["i64"] = torch.arange(5)
    state["u8"] = torch.ones(2, 2, dtype=torch.uint8)
    state["bool"] = torch.tensor([True, False])
    return state


def f32(tensor):
    return tensor.detach().to(torch.float32).contiguous()


def main():
    state = views()
    torch.save(state, os.path.join(HERE, "views.bin"))
    torch.save(state, os.path.join(HERE, "views-legacy.bin"), _use_new_zipfile_serialization=False)
    for protocol in (3, 4, 5):
        torch.save(state, os.path.join(HERE, f"views-protocol{protocol}.bin"), pickle_protocol=protocol)
    expected = {
        "torch": torch.__version__,
        "views": {
            name: {"shape": list(tensor.shape), "values": f32(tensor).flatten().tolist()}
            for name, tensor in state.items()
        },
        "models": {},
    }
    for model in ("tiny-gpt2-code", "tiny-gpt2-code-legacy", "tiny-roberta"):
        loaded = torch.load(os.path.join(MODELS, model, "pytorch_model.bin"), weights_only=True)
        expected["models"][model] = {
            name: {
                "shape": list(tensor.shape),
                "type": str(tensor.dtype).removeprefix("torch."),
                "sha256": hashlib.sha256(f32(tensor).numpy().tobytes()).hexdigest(),
            }
            for name, tensor in loaded.items()
        }
    # What a pickle must not get.
    class Attack:
        def __reduce__(self):
            return os.system, ("echo executed",)

    torch.save({"w": Attack()}, os.path.join(HERE, "attack.bin"))
    torch.save({"w": Attack()}, os.path.join(HERE, "attack-legacy.bin"), _use_new_zipfile_serialization=False)
    torch.save({"w": torch.nn.Linear(1, 1)}, os.path.join(HERE, "module.bin"))
    torch.save({"w": torch.eye(2).to_sparse()}, os.path.join(HERE, "sparse.bin"))
    torch.save({"epoch": 3, "state_dict": {"w": torch.ones(1)}}, os.path.join(HERE, "checkpoint.bin"))
    with open(os.path.join(HERE, "expected.json"), "w") as file:
        json.dump(expected, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    sys.exit(main())
