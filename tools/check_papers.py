#!/usr/bin/env python3
"""The jobs of configs/papers/full: what a GPU of 80 GB would hold of each, and two steps of each with a tiny model.

    python3 tools/check_papers.py [--vernier build/release/vernier] [--dry-run | --plan] [FILE.toml ...]

Neither the models nor the data are needed. `vernier plan --cluster` is asked with the config.json of the model and no weights; every
response is taken to be as long as it may be. A dry run is the file as it is, but for the model (random, 2 layers of qwen2), a few
rows of data, lengths, prompts a step, and the CPU in place of GPUs; two ranks share it where the file has ranks share something.
Prints a line a file, and ends with 1 where a job does not fit or does not run. The standard library alone (Python 3.11).
"""

import argparse
import json
import math
import os
import pathlib
import random
import re
import struct
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
CLUSTER, GB = "nodes=1,gpus=8,device=a100", 80
QWEN2 = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
         "tie_word_embeddings": False, "use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28,
         "torch_dtype": "bfloat16"}
# Of the config.json of each model.
SIZES = {
    "1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2,
             "vocab_size": 151936, "max_position_embeddings": 131072},
    "7b": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
           "vocab_size": 152064, "max_position_embeddings": 131072},
    "math-7b": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
                "num_key_value_heads": 4, "vocab_size": 152064, "max_position_embeddings": 4096},
}
TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 1024}
ENDS = ["<｜end▁of▁sentence｜>", "<|im_end|>", "<|endoftext|>"]
BOXES = ["\\boxed{7}", "\\boxed{8}"]  # single tokens: a random model gives right answers and wrong ones
ADDED = ["<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<|im_start|>", "<think>", "</think>", *ENDS, *BOXES]
# How much likelier than another token.
LIKELY = {"</think>": 7, BOXES[0]: 5, BOXES[1]: 3, ENDS[0]: 2, ENDS[2]: 2}


def write_tokenizer(folder):
    """That of a test, with the tokens that the chat formats and the answers want; returns its ids."""
    tokenizer = json.loads((ROOT / "tests/cases/text/tokenizers/qwen2/tokenizer.json").read_text())
    first = len(tokenizer["model"]["vocab"])
    plain = tokenizer["added_tokens"][0] | {"special": False, "normalized": False}
    tokenizer["added_tokens"] = [plain | {"id": first + i, "content": text, "special": text not in [*BOXES, "<think>", "</think>"]}
                                 for i, text in enumerate(ADDED)]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return {text: first + i for i, text in enumerate(ADDED)}


def write_config(folder, sizes, ids):
    config = QWEN2 | sizes | {"eos_token_id": [ids[text] for text in ENDS]}
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def write_tensors(path, tensors):
    """A safetensors file of {name: (shape, numbers)}."""
    header, end = {}, 0
    for name, (shape, values) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + 4 * len(values)]}
        end += 4 * len(values)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, values in tensors.values():
            file.write(struct.pack(f"<{len(values)}f", *values))


def write_model(folder):
    """A random model. Dimension 0 of its embeddings is one number, so column 0 of its head tells how likely a token is."""
    ids = write_tokenizer(folder)
    vocabulary = max(ids.values()) + 1
    write_config(folder, TINY | {"vocab_size": vocabulary}, ids)
    width, inner = TINY["hidden_size"], TINY["intermediate_size"]
    keys = width // TINY["num_attention_heads"] * TINY["num_key_value_heads"]
    draw = random.Random(7)

    def matrix(rows, columns, deviation):
        return [rows, columns], [draw.gauss(0, deviation) for _ in range(rows * columns)]

    tensors = {"model.embed_tokens.weight": matrix(vocabulary, width, 0.3), "lm_head.weight": matrix(vocabulary, width, 0.1),
               "model.norm.weight": ([width], [1.0] * width)}
    for token in range(vocabulary):
        tensors["model.embed_tokens.weight"][1][token * width] = 1.0
        tensors["lm_head.weight"][1][token * width] = 0.0
    for text, factor in LIKELY.items():
        tensors["lm_head.weight"][1][ids[text] * width] = math.log(factor) / 2
    for layer in range(TINY["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{at}{name}.weight"] = [width], [1.0] * width
        for name, rows in (("q", width), ("k", keys), ("v", keys)):
            tensors[f"{at}self_attn.{name}_proj.weight"] = matrix(rows, width, 0.1)
            tensors[f"{at}self_attn.{name}_proj.bias"] = [rows], [0.0] * rows
        tensors[f"{at}self_attn.o_proj.weight"] = matrix(width, width, 0.03)
        tensors[f"{at}mlp.gate_proj.weight"] = matrix(inner, width, 0.1)
        tensors[f"{at}mlp.up_proj.weight"] = matrix(inner, width, 0.1)
        tensors[f"{at}mlp.down_proj.weight"] = matrix(width, inner, 0.03)
    write_tensors(folder / "model.safetensors", tensors)


def write_rows(path, count):
    rows = [{"problem": f"What is {i + 7} minus {i}?", "answer": "7", "solution": f"{i + 7} - {i} = 7"} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def prepare(folder):
    for name, sizes in SIZES.items():
        (folder / name).mkdir()
        write_config(folder / name, sizes, write_tokenizer(folder / name))
    (folder / "tiny").mkdir()
    write_model(folder / "tiny")
    write_rows(folder / "train.jsonl", 40)
    write_rows(folder / "eval.jsonl", 4)


def call(options, *command, keys=()):
    """What the program says, and of what it ended with an error the last line of that."""
    words = [word for key in keys for word in ("--set", key)]
    done = subprocess.run([options.vernier, *map(str, command), *words], capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    return done.stdout, "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def data_keys(folder, config):
    keys = [f"data.train={folder / 'train.jsonl'}"]
    return keys + [f"data.eval={folder / 'eval.jsonl'}"] if "eval" in config["data"] else keys


def plan(options, file, config, folder):
    """What a rank of each kind holds, and whether it fits."""
    size = "math-7b" if "Math" in config["model"]["path"] else re.search(r"_(\d[\d.]*b)", file.stem)[1]
    out, problem = call(options, "plan", file, "--cluster", CLUSTER, "--memory", GB, "--json",
                        keys=[f"model.path={folder / size}", *data_keys(folder, config)])
    if problem:
        return problem, False
    ranks = json.loads(out)["memory"]["ranks"]
    told = ", ".join(f"{max(rank['peak_bytes'].values()) / 1e9:.1f} GB {rank['name']}" for rank in ranks)
    fits = all(rank["fits"] for rank in ranks)
    return f"{told}: {'fits' if fits else 'DOES NOT FIT'}", fits


def dry_run(options, file, config, folder):
    """Two steps; what they trained on."""
    rollout, group = config["rollout"], config["rollout"]["num_generations"]
    prompts = 8 if group <= 8 else 4
    apart = rollout.get("mode") == "disaggregated"
    ranks = 2 if apart or config["trainer"].get("shard", "none") != "none" else 1
    # Several updates a step where the file has them.
    whole = config["trainer"]["samples_per_update"] >= group * rollout["prompts_per_step"]
    keys = ["run.device=cpu", "run.steps=2", "run.threads=1", f"model.path={folder / 'tiny'}", "model.max_length=512",
            *data_keys(folder, config), f"rollout.prompts_per_step={prompts}", "rollout.max_completion_length=96",
            "rollout.kv_cache_gb=0.05", "trainer.max_tokens_per_microbatch=4096",
            f"trainer.samples_per_update={prompts * group // (1 if whole else 2)}"]
    if apart:
        keys.append("rollout.ranks=1")
    run, begin = folder / f"run-{file.stem}", time.monotonic()
    _, problem = call(options, "train", file, "--run", run, "--nproc", ranks, keys=keys)
    if problem:
        return problem, False
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if row["phase"] == "rl"]
    trained = [row["samples/trained"] for row in steps]
    norms = [row.get("grad_norm") or 0 for row in steps]
    learned = len(steps) == 2 and all(map(math.isfinite, norms)) and any(norms)
    told = f"{len(steps)} steps on {' and '.join(map(str, trained))} responses, " \
           f"{ranks} rank{'s' * (ranks > 1)}, {time.monotonic() - begin:.0f} s"
    return told if learned else f"{told}: NOTHING LEARNED", learned


def main():
    parser = argparse.ArgumentParser(prog="tools/check_papers.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    parser.add_argument("--vernier", default=ROOT / "build/release/vernier")
    parser.add_argument("--dry-run", action="store_true", help="no plans")
    parser.add_argument("--plan", action="store_true", help="no dry runs")
    options = parser.parse_args()
    files = options.files or sorted((ROOT / "configs/papers/full").glob("*.toml"))
    checks = [check for check, other in ((plan, options.dry_run), (dry_run, options.plan)) if not other]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="vernier-papers-") as name:
        folder = pathlib.Path(name)
        prepare(folder)
        for file in files:
            config = tomllib.loads(file.read_text())
            results = [check(options, file, config, folder) for check in checks]
            print(f"{file.stem:14}  {'; '.join(told for told, _ in results)}", flush=True)
            failed += not all(good for _, good in results)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
