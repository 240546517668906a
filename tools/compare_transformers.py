"""Checks that what Vernier writes is, to `transformers`, the model that Vernier read.

    compare_transformers.py [--vernier build/release/vernier]

For a model of every family and RoPE kind (those of golden_models.py): transformers saves it;
Vernier trains it for no step, and converts it to another folder in shards, to GGUF, and from there
to a folder again; transformers opens every folder that came out and has to give the same logits, bit
for bit. GGUF files of plain models it opens too (to 1e-4). What GGUF cannot say, Vernier refuses,
and the line shows it. Ends with 1 where a model differs. The environment is that of
golden_models.py, with gguf==0.19.0 and accelerate.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from golden_models import VOCABULARY, cases, formula_weights, make_config, partial_rotation
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+=#.?~ "
# Of these families transformers reads GGUF files too, where heads have the usual size and no bias is rotated.
PLAIN = [(f"{family}-plain", family, {"head_dim": head}, "default", {}, False) for family, head in (("llama", 8), ("qwen2", 8), ("qwen3", 128))]
START = """
[run]
steps = 0
eval_every = 0
[data]
task = "chain_sum"
[[reward]]
type = "accuracy"
[algo]
type = "grpo"
[rollout]
max_completion_length = 8
"""


def logits(folder, ids, **options):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **options).eval()
    with torch.no_grad():
        return model(ids).logits


def vernier(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""


def save_tokenizer(folder, characters=CHARACTERS, merges=(("a", "b"), ("ab", "c"))):
    """A byte-level tokenizer of ASCII characters and an end token."""
    symbols = [c if c != " " else "\u0120" for c in characters] + ["".join(pair) for pair in merges]
    vocabulary = {symbol: i for i, symbol in enumerate(symbols)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>").save_pretrained(folder)


def save_source(case, folder):
    name, family, changes, kind, rope_changes, old = case
    stored, config, rope = make_config(family, changes, kind, rope_changes, old)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float()
    with torch.no_grad():
        for n, p in model.named_parameters():
            p.copy_(formula_weights(n, p.shape))
    model.save_pretrained(folder)
    if old:  # save_pretrained writes the new keys
        (folder / "config.json").write_text(json.dumps(stored))
    save_tokenizer(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": len(CHARACTERS) + 2}))
    return rope


def same(folder, ids, want):
    return "same" if torch.equal(logits(folder, ids), want) else "DIFFERS"


def compare_gguf(program, case, work, source, ids, want):
    """The GGUF file of `source`, and the folder that comes from it."""
    code, said = vernier(program, "convert", "--model", source, "--out", work / "m.gguf")
    if code != 0:
        return {"gguf": "refused" if "GGUF cannot say" in said else f"DIFFERS {said}"}
    outcome = {}
    if case in PLAIN:
        close = torch.allclose(logits(work, ids, gguf_file="m.gguf"), want, rtol=0, atol=1e-4)
        outcome["gguf"] = "same" if close else "DIFFERS"
    code, said = vernier(program, "convert", "--model", work / "m.gguf", "--out", work / "back")
    outcome["gguf and back"] = same(work / "back", ids, want) if code == 0 else f"DIFFERS {said}"
    return outcome


def compare(program, case):
    ids = torch.randint(0, VOCABULARY, (1, 100), generator=torch.Generator().manual_seed(1))
    with tempfile.TemporaryDirectory() as scratch:
        work, source = Path(scratch), Path(scratch) / "source"
        rope = save_source(case, source)
        with partial_rotation(case[1], rope):
            want = logits(source, ids)
            (work / "start.toml").write_text(START + f'[model]\npath = "{source}"\n')
            code, said = vernier(program, "train", work / "start.toml", "--run", work / "run")
            outcome = {"train": same(work / "run" / "checkpoint-0", ids, want) if code == 0 else f"DIFFERS {said}"}
            code, said = vernier(program, "convert", "--model", source, "--out", work / "shards", "--shard-gb", "0.0002")
            outcome["shards"] = same(work / "shards", ids, want) if code == 0 else f"DIFFERS {said}"
            outcome |= compare_gguf(program, case, work, source, ids, want)
    print(f"{case[0]}: {outcome}", flush=True)
    return not any(value.startswith("DIFFERS") for value in outcome.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vernier", type=Path, default=Path("build/release/vernier"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    program = args.vernier.resolve()
    good = [compare(program, case) for case in [*PLAIN, *cases()]]
    print(f"{sum(good)} of {len(good)} models are the same")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
