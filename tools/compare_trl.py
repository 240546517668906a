"""Times whole RL steps beside TRL's GRPOTrainer, both on this machine's CPU, by turns.

    compare_trl.py --model DIR|tiny-llama-128x4 --prompts 8 --n 8 --prompt-tokens 64 --tokens 64 --steps K --rounds R

Runs `vernier_bench step` and TRL, each in fp32 and in bf16 (TRL: autocast over fp32 weights), on one
Hugging Face folder: the same number of prompts and responses of the same lengths, no KL, one update a
step. A round is one process of each, whose steps but the first ones are timed, drawing included; figures are
medians over steps, then over rounds, peak_rss_mb that of the process. TRL runs every response in one
forward pass (--trl-batch: in several). Both keep activations, or with --activation-checkpointing, TRL's default, both
compute them again. Prints one JSON object: ratios are TRL's figure over ours, `better` against the faster of TRL's precisions.

The environment, Python 3.11 or later; it also runs this script:

    python3 -m venv trl-venv
    trl-venv/bin/pip install torch==2.11.0 transformers==5.24.0 trl==1.16.0
"""

import argparse
import json
import os
import platform
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

TINY = "tiny-llama-128x4"
PRECISIONS = ("fp32", "bf16")
WARM_UP = 1  # steps of TRL that are not timed
KEYS = ("step_s", "rollout_s", "train_s", "peak_rss_mb")


# ---------------------------------------------------------------- TRL, in a process of its own


def prompts(tokenizer, count, tokens):
    """Texts of exactly so many tokens: words, or characters where the vocabulary has nothing longer."""
    known = tokenizer.get_vocab()
    words = [w for w in known if re.fullmatch("Ġ[a-z]+", w)] or [w for w in known if re.fullmatch("[a-z]", w)]
    words.sort()
    rng = random.Random(7)
    texts = ["".join(rng.choices(words, k=tokens)).replace("Ġ", " ") for _ in range(count)]
    for text in texts:
        if len(tokenizer.encode(text)) != tokens:
            sys.exit(f"compare_trl: a prompt has {len(tokenizer.encode(text))} tokens, not {tokens}: {text}")
    return texts


def run_trl(options):
    import datasets
    import torch
    import transformers
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(os.cpu_count())
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    ends, drawing = [], [0.0]
    generate = model.generate

    def timed(*args, **kwargs):
        start = time.perf_counter()
        out = generate(*args, **kwargs)
        drawing[-1] += time.perf_counter() - start
        if out.size(1) != options.prompt_tokens + options.tokens:
            sys.exit(f"compare_trl: TRL has sequences of {out.size(1)} tokens")
        return out

    class Times(transformers.TrainerCallback):
        def on_train_begin(self, *_args, **_kwargs):
            ends.append(time.perf_counter())

        def on_step_end(self, *_args, **_kwargs):
            ends.append(time.perf_counter())
            drawing.append(0.0)

    def verdict(completions, **_):  # differs within a group: there is something to learn
        return [float(i % 2) for i in range(len(completions))]

    model.generate = timed
    responses = options.prompts * options.n
    batch = options.trl_batch or responses
    steps = WARM_UP + options.steps
    with tempfile.TemporaryDirectory() as scratch:
        config = GRPOConfig(
            output_dir=scratch, use_cpu=True, bf16=options.precision == "bf16", per_device_train_batch_size=batch,
            gradient_accumulation_steps=responses // batch, num_generations=options.n, max_completion_length=options.tokens,
            generation_kwargs={"min_new_tokens": options.tokens}, max_steps=steps, beta=0.0, num_iterations=1,
            gradient_checkpointing=options.activation_checkpointing, save_strategy="no", report_to="none", logging_steps=1000, disable_tqdm=True)
        rows = datasets.Dataset.from_dict({"prompt": prompts(tokenizer, steps * options.prompts, options.prompt_tokens)})
        GRPOTrainer(model=model, reward_funcs=verdict, args=config, train_dataset=rows, processing_class=tokenizer, callbacks=[Times()]).train()
    whole = [b - a for a, b in zip(ends, ends[1:])]
    train = [a - b for a, b in zip(whole, drawing)]
    found = {name: statistics.median(values[WARM_UP:steps]) for name, values in (("step_s", whole), ("rollout_s", drawing), ("train_s", train))}
    print(json.dumps(found | {"peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


# ---------------------------------------------------------------- both, by turns


def last_line(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"compare_trl: {' '.join(map(str, command))}\n{done.stdout[-1000:]}\n{done.stderr.strip()[-3000:]}")
    return json.loads(done.stdout.strip().split("\n")[-1])


def shape(options, model):
    return ["--model", model, "--prompts", options.prompts, "--n", options.n, "--prompt-tokens", options.prompt_tokens,
            "--tokens", options.tokens, "--steps", options.steps] + ["--activation-checkpointing"] * options.activation_checkpointing


def commands(options, model, precision):
    return {"vernier": [options.bench, "step", *shape(options, model), "--precision", precision, "--weights", precision],
            "trl": [sys.executable, __file__, *shape(options, model), "--trl", "--precision", precision, "--trl-batch", options.trl_batch]}


def compare(options, model):
    found = {name: {precision: [] for precision in PRECISIONS} for name in ("vernier", "trl")}
    for _ in range(options.rounds):
        for precision in PRECISIONS:
            for name, command in commands(options, model, precision).items():
                found[name][precision].append(last_line(command))
    return {name: {precision: {key: statistics.median(run[key] for run in runs) for key in KEYS} | {"rounds_step_s": [run["step_s"] for run in runs]}
                   for precision, runs in by_precision.items()} for name, by_precision in found.items()}


def ratios(found):
    def of(ours, theirs):
        return {key: theirs[key] / ours[key] for key in KEYS}

    better = min(found["trl"].values(), key=lambda one: one["step_s"])
    return {p: of(found["vernier"][p], found["trl"][p]) for p in PRECISIONS} | {"better": of(found["vernier"]["bf16"], better)}


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help=f"Hugging Face folder, or {TINY}: a new one of 0.8 M parameters")
    for name, default in (("prompts", 8), ("n", 8), ("prompt-tokens", 64), ("tokens", 64), ("steps", 5), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--trl-batch", type=int, default=0, help="responses a forward pass of TRL's training; 0: all")
    parser.add_argument("--activation-checkpointing", action="store_true", help="both compute activations again, as TRL does by default")
    parser.add_argument("--bench", type=Path, default=Path("build/release/vernier_bench"))
    parser.add_argument("--trl", action="store_true", help=argparse.SUPPRESS)  # one run of TRL, for a round
    parser.add_argument("--precision", choices=PRECISIONS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.trl:
        return run_trl(options)
    if options.trl_batch and (options.prompts * options.n % options.trl_batch or options.trl_batch % options.n):
        parser.error(f"--trl-batch: {options.trl_batch} does not split {options.prompts * options.n} responses into whole groups of {options.n}")
    options.bench = options.bench.resolve()
    if not options.bench.is_file():
        parser.error(f"--bench: {options.bench} is not there; build the target vernier_bench")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        if options.model == TINY:
            last_line([options.bench, "step", "--model", TINY, "--prompts", 1, "--n", 2, "--tokens", 1, "--steps", 1, "--save", folder])
        found = compare(options, folder if options.model == TINY else options.model)
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in ("torch", "transformers", "trl")}
    setting = {key: getattr(options, key) for key in ("model", "prompts", "n", "prompt_tokens", "tokens", "steps", "rounds", "trl_batch", "activation_checkpointing")}
    print(json.dumps(setting | found | {"ratio": ratios(found), "versions": versions, "processor": processor(), "cores": os.cpu_count(),
                                        "load_average": {"before": load, "after": os.getloadavg()[0]}}, indent=1))


if __name__ == "__main__":
    main()
