"""Writes tests/cases/lora: adapters as PEFT saves them, what a model computes with them, and their gradients.

    golden_lora.py [--out tests/cases]
    golden_lora.py --check CHECKPOINT

Model and rows are those of golden_step.py, which runs first. A case wraps the model by PEFT, sets A and B to
known numbers, and takes the gradient of one loss: a weighted sum of the responses' log-probabilities, under
logits / TEMPERATURE, weights from a fixed seed. Adapters are stored in fp32, all the rest is computed in fp64. With --check nothing is written: PEFT lays CHECKPOINT/adapter over its base model, and the logits have
to be those of the checkpoint itself, whose weights are merged.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import torch
from golden import check, dump, note, significant, versions, write
from golden_step import load_model, logprobs
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers.utils.logging import disable_progress_bar

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = {"all": {"r": 3, "lora_alpha": 7, "target_modules": ALL},
         "some": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj", "up_proj", "down_proj"], "use_rslora": True}}
ROWS = 6


def set_adapter(model, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(0.3 * torch.randn(weight.shape))


def save_adapter(model, folder):
    """PEFT's files without its card; it writes the targets in the order of a set."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["target_modules"].sort()
    write(path, json.dumps(config, indent=2) + "\n")


def run_case(name, keys, base, rows, folder):
    model = get_peft_model(load_model(base), LoraConfig(task_type="CAUSAL_LM", bias="none", **keys))
    set_adapter(model, 23)
    save_adapter(model, folder)
    model.double()
    values = [logprobs(model, row) for row in rows]
    weights = [significant(torch.randn(len(lp)), 4) for lp in values]
    loss = sum((lp * torch.tensor(w, dtype=torch.float64)).sum() for lp, w in zip(values, weights))
    loss.backward()
    # As in the adapter's file, whose names lack that of the one adapter.
    save_file({n.replace(".default.", "."): p.grad.float() for n, p in model.named_parameters() if p.requires_grad}, folder / "gradient.safetensors")
    note(f"{name}: loss {loss.item():.6f}")
    return {"name": name, "rank": keys["r"], "alpha": keys["lora_alpha"], "targets": keys["target_modules"], "use_rslora": keys.get("use_rslora", False),
            "weights": weights, "logprobs": [significant(lp, 9) for lp in values], "loss": round(loss.item(), 9)}


def check_checkpoint(folder):
    base = json.loads((folder / "adapter/adapter_config.json").read_text())["base_model_name_or_path"]
    adapted, merged = PeftModel.from_pretrained(load_model(base), folder / "adapter"), load_model(folder)
    torch.manual_seed(3)
    ids = torch.randint(merged.config.vocab_size, (4, 24))
    with torch.no_grad():
        found, want, plain = adapted(ids).logits, merged(ids).logits, load_model(base)(ids).logits
    gap, moved = (found - want).abs().max().item(), (want - plain).abs().max().item()
    print(f"{folder}: largest gap of a logit {gap:.3g}; the adapter moved one by {moved:.3g}")
    sys.exit(0 if gap < 1e-4 and moved > 1e-3 else 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tests/cases"))
    parser.add_argument("--check", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    disable_progress_bar()
    if options.check:
        check_checkpoint(options.check)
    base, folder = options.out / "step/model", options.out / "lora"
    check(base.exists(), f"{base} is missing; golden_step.py writes it")
    rows = [json.loads(line) for line in (options.out / "step/rollouts.jsonl").read_text().splitlines()][:ROWS]
    shutil.rmtree(folder, ignore_errors=True)
    cases = [run_case(name, keys, base, rows, folder / name) for name, keys in CASES.items()]
    defaults = LoraConfig().to_dict() | {"peft_type": "LORA"}
    write(folder / "lora.json", dump({"versions": versions("torch", "transformers", "peft", "safetensors"), "defaults": defaults, "cases": cases}) + "\n")


if __name__ == "__main__":
    main()
