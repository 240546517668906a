"""Regenerates tests/cases/model/families.json: what `transformers` answers for small models of every
family, with every RoPE kind and the options in odd combinations.

    golden_models.py --out tests/cases

The environment, Python 3.11 or later:

    python3 -m venv golden-venv
    golden-venv/bin/pip install torch==2.11.0 transformers==5.24.0 numpy

Weights are not stored: formula_weights() makes them from the tensor's name, here and in
tests/families_test.cpp. All inputs come from fixed seeds, so a second run changes the file only
where a library changed its mind. transformers 5 ignores partial_rotary_factor in these families or
stops at it; the cases that have it run with Phi-3's rotation, which is the one vLLM uses for all.
"""

import argparse
import contextlib
import importlib
import json
import os
import platform
import tempfile
from importlib import metadata
from pathlib import Path
from unittest import mock

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.phi3 import modeling_phi3

VOCABULARY = 96
LENGTHS = [1, 2, 31, 33, 100]
ORIGINAL, LONGEST = 32, 128
PAIRS = 24  # rotated pairs of a head of 48

LONG = [round(1 + 0.13 * i, 3) for i in range(PAIRS)]
SHORT = [round(1 + 0.01 * i, 3) for i in range(PAIRS)]
ROPE = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": ORIGINAL},
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": ORIGINAL},
    "longrope": {"short_factor": SHORT, "long_factor": LONG, "original_max_position_embeddings": ORIGINAL},
}
SIZES = {"vocab_size": VOCABULARY, "hidden_size": 56, "intermediate_size": 83, "num_hidden_layers": 3, "num_attention_heads": 7,
         "num_key_value_heads": 1, "head_dim": 48, "max_position_embeddings": LONGEST, "rms_norm_eps": 3e-5,
         "bos_token_id": None, "eos_token_id": 10, "pad_token_id": None}


def cases():
    """(name, model_type, changes, rope kind, changes of it, old keys?)"""
    biases = {"llama": {"attention_bias": True, "mlp_bias": True}, "qwen3": {"attention_bias": True},
              "smollm3": {"attention_bias": True, "mlp_bias": True}, "olmo2": {"attention_bias": True}}
    for f, family in enumerate(["llama", "qwen2", "qwen3", "mistral", "smollm3", "olmo2"]):
        for k, kind in enumerate(ROPE):
            changes = {"tie_word_embeddings": (f + k) % 2 == 0} | (biases.get(family, {}) if k % 2 == 0 else {})
            yield f"{family}-{kind}", family, changes, kind, {}, (f + k) % 3 == 0
    wide = {"num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 16, "hidden_size": 60}
    yield "llama-wide-theta", "llama", wide, "default", {"rope_theta": 5e5}, True
    yield "llama-yarn-scales", "llama", {}, "yarn", {"mscale": 1.2, "mscale_all_dim": 0.7, "truncate": False, "beta_fast": 16.0, "beta_slow": 2.0}, False
    yield "llama-yarn-factor", "llama", {}, "yarn", {"attention_factor": 1.3}, True
    yield "llama-yarn-beyond", "llama", {"max_position_embeddings": ORIGINAL}, "yarn", {}, True
    yield "llama-linear-beyond", "llama", {"max_position_embeddings": ORIGINAL}, "linear", {}, True
    yield "llama-longrope-factor", "llama", {}, "longrope", {"factor": 2.5}, False
    yield "llama-partial", "llama", {}, "linear", {"partial_rotary_factor": 0.5}, False
    yield "qwen3-partial", "qwen3", {}, "yarn", {"partial_rotary_factor": 0.34}, True
    yield "qwen2-window", "qwen2", {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 1}, "default", {}, False
    yield "qwen3-layer-types", "qwen3", {"use_sliding_window": True, "sliding_window": 33, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}, "yarn", {}, False
    yield "mistral-window", "mistral", {"sliding_window": 7}, "llama3", {}, True
    yield "mistral-no-window", "mistral", {"sliding_window": None}, "default", {}, False
    yield "smollm3-layers", "smollm3", {"no_rope_layers": [0, 1, 0], "use_sliding_window": True, "sliding_window": 9}, "linear", {}, True
    yield "smollm3-interval", "smollm3", {"no_rope_layer_interval": 2}, "yarn", {}, True
    yield "olmo2-grouped", "olmo2", wide, "llama3", {}, False


def name_hash(name):
    """FNV-1a of 64 bits."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return h


def formula_weights(name, shape):
    """fp32 values that depend on the name alone, every one exact: splitmix64 to 24 bits, times a power of two."""
    with np.errstate(over="ignore"):
        z = np.uint64(name_hash(name)) + np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    unit = (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1
    if name.endswith("norm.weight"):
        values = 1 + unit / 2
    elif name.endswith("bias") or "embed" in name:
        values = unit
    else:  # queries and keys are large enough for sharp attention, or a wrong rotation would not show
        values = unit * (0.5 if "q_proj" in name or "k_proj" in name else 0.25)
    return torch.from_numpy(values.reshape(shape).astype(np.float32))


def old_keys(config):
    """The same configuration as transformers 4 wrote it."""
    out = dict(config)
    rope = dict(out.pop("rope_parameters"))
    out["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    if "partial_rotary_factor" in rope:
        out["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    out["rope_scaling"] = None if kind == "default" else {"type": kind} | rope
    return out


def partial_rotation(family, rope):
    if "partial_rotary_factor" not in rope:
        return contextlib.nullcontext()
    module = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
    return mock.patch.object(module, "apply_rotary_pos_emb", modeling_phi3.apply_rotary_pos_emb)


def make_config(family, changes, kind, rope_changes, old):
    rope = {"rope_type": kind, "rope_theta": 10000.0} | ROPE[kind] | rope_changes
    config = AutoConfig.for_model(family, **(SIZES | changes), rope_parameters=dict(rope))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        config.architectures = [type(AutoModelForCausalLM.from_config(config)).__name__]
        config.save_pretrained(folder)
        stored = json.loads(path.read_text())
        if old:
            stored = old_keys(stored)
            path.write_text(json.dumps(stored))
        return stored, AutoConfig.from_pretrained(folder), rope


def answers(model, ids):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    logprobs = torch.log_softmax(logits, -1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    return [float(f"{x:.7g}") for x in logprobs]


def make_case(name, family, changes, kind, rope_changes, old):
    stored, config, rope = make_config(family, changes, kind, rope_changes, old)
    rng = np.random.RandomState(name_hash(name) % 2**32)
    with partial_rotation(family, rope):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
        shapes = {n: list(p.shape) for n, p in model.named_parameters()}
        with torch.no_grad():
            for n, p in model.named_parameters():
                p.copy_(formula_weights(n, p.shape))
        groups = []
        # dynamic is refused past its maximum; longrope changes with the length, so each side has its own cap.
        caps = {"dynamic": [LONGEST], "longrope": [ORIGINAL, LONGEST]}.get(kind, [0])
        for cap in caps:
            lengths = [n for n in LENGTHS if cap == 0 or (n <= ORIGINAL) == (cap == ORIGINAL) or kind == "dynamic"]
            sequences = [rng.randint(0, VOCABULARY, n + 1).tolist() for n in lengths]
            if kind == "longrope":  # transformers looks at the ids it is given, the last one included
                sequences = [ids[:cap] for ids in sequences]
            groups.append({"max_length": cap, "sequences": [{"ids": ids, "logprobs": answers(model, ids)} for ids in sequences]})
    print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters, {len(groups)} caps")
    return {"name": name, "config": stored, "tensors": shapes, "groups": groups}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tests/cases"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    made = [make_case(*case) for case in cases()]
    path = args.out / "model" / "families.json"
    versions = {"python": platform.python_version()} | {p: metadata.version(p) for p in ("torch", "transformers", "numpy")}
    lines = ",\n".join(json.dumps(case) for case in made)
    path.write_text('{"versions": ' + json.dumps(versions) + ',\n"cases": [\n' + lines + "\n]}\n")
    print(f"{path}: {len(made)} cases, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
