"""What the experiments on the quickstart's task share: runs, fresh prompts, and intervals of paired differences.

Fresh are chain_sum prompts 1,000 to 2,999 of the evaluation stream: no evaluation of those runs sees more than the
first 1,000.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys

START = "runs/quickstart/start/checkpoint-0"
SEEN, FRESH, ANSWERS = 1000, 2000, 4


def options_of(doc, out, seeds, methods):
    """The options that all of them have; a parser to add others to."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=out and pathlib.Path(out))
    parser.add_argument("--seeds", default=seeds, help="FIRST-LAST")
    parser.add_argument("--methods", default=methods)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--vernier", default="build/release/vernier")
    if not pathlib.Path(START).is_dir():
        sys.exit(f"{START} is not there; run tools/quickstart first")
    return parser


def seeds_of(options):
    first, _, last = options.seeds.partition("-")
    return range(int(first), int(last or first) + 1)


def train(vernier, config, folder, keys, ranks=1):
    """Runs a configuration from the start policy; one that is finished is not run again."""
    command = [vernier, "train", config, "--run", str(folder)]
    for key, value in {"model.path": START, **keys}.items():
        command += ["--set", f"{key}={value}"]
    if ranks > 1:
        command += ["--nproc", str(ranks)]
    log = folder.with_name(folder.name + ".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        if subprocess.run(command, stderr=file, check=False).returncode != 0:
            sys.exit(f"{' '.join(command)} failed; see {log}")


def answers(vernier, run, step):
    """Right answers and tokens of each fresh prompt, (share, tokens)."""
    out = run / f"fresh_{step}.jsonl"
    if not out.exists():
        command = [vernier, "eval", "--model", str(run / f"checkpoint-{step}"), "--task", "chain_sum", "--seed", "77"]
        command += ["--limit", str(SEEN + FRESH), "--n", str(ANSWERS), "--max-completion-length", "120"]
        rows = out.with_suffix(".tmp")
        command += ["--threads", "1", "--out", str(rows), "--json"]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        groups = {}
        for line in rows.open():
            row = json.loads(line)
            groups.setdefault(row["group"], []).append((row["correct"], row["num_tokens"]))
        fresh = [[sum(a) / ANSWERS for a in zip(*groups[g])] for g in sorted(groups) if g >= SEEN]
        out.write_text(json.dumps(fresh))
        rows.unlink()
    return json.loads(out.read_text())


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def interval(rows, draws=1000):
    """95 % interval of the mean of rows [seeds][prompts], by a bootstrap that draws seeds and prompts anew."""
    generator = random.Random(1)
    places, means = range(len(rows[0])), []
    for _ in range(draws):
        chosen = generator.choices(places, k=len(places))
        seeds = generator.choices(rows, k=len(rows))
        means.append(mean([mean([row[p] for p in chosen]) for row in seeds]))
    means.sort()
    return means[int(0.025 * draws)], means[int(0.975 * draws)]


def last_step(run):
    return max(int(p.name.split("-")[1]) for p in run.glob("checkpoint-*") if p.name.split("-")[1].isdigit())
