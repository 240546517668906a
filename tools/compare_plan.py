#!/usr/bin/env python3
"""Sets what `vernier plan --cluster` says a step takes beside the steps of a run.

    tools/compare_plan.py CONFIG.toml [--set KEY=VALUE ...] [--processes 1,2] [--rounds 5] [--vernier PATH]

For each number of processes, with one thread each and pinned to as many cores: trains for a step to warm up and
--rounds (5 at most) more, then asks for a plan --rounds times with the lengths that the run recorded, and prints the medians of
both. Standard library only.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def call(command):
    """What a command says; ends this program where it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{pathlib.Path(sys.argv[0]).stem}: {' '.join(map(str, command))}\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def job_parser(description):
    """Arguments that name a job and the program that runs it."""
    parser = argparse.ArgumentParser(prog=f"tools/{pathlib.Path(sys.argv[0]).name}", description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="+")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--vernier", default=ROOT / "build/release/vernier")
    return parser


def main():
    parser = job_parser(__doc__)
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 6))
    options = parser.parse_args()
    for count in map(int, options.processes.split(",")):
        cores = sorted(os.sched_getaffinity(0))
        if not 1 <= count <= len(cores):
            sys.exit(f"compare_plan: --processes {count}: there are {len(cores)} cores")
        pinned = ["taskset", "-c", ",".join(map(str, cores[:count])), options.vernier]
        keys = [word for one in [*options.set, "run.threads=1", "run.eval_every=0", f"run.steps={options.rounds + 1}",
                                 "log.rollouts.every=1", "log.rollouts.keep_steps=0"] for word in ("--set", one)]
        with tempfile.TemporaryDirectory(prefix="vernier-plan-") as folder:
            call([*pinned, "train", *options.config, *keys, "--run", folder, "--nproc", count])
            rows = [json.loads(line) for line in (pathlib.Path(folder) / "metrics.jsonl").read_text().splitlines()]
            steps = [row for row in rows if row["phase"] == "rl"][1:]
            plans = [json.loads(call([*pinned, "plan", *options.config, *keys, "--cluster", f"nodes=1,gpus={count}",
                                      "--lengths", folder, "--json"])) for _ in range(options.rounds)]
        middle = {key: statistics.median(row[f"time/{key}"] for row in steps) for key in ("step", "rollout", "update")}
        said = {key: statistics.median(plan["setups"][0][name] for plan in plans)
                for key, name in (("step", "step_s"), ("rollout", "draw_s"), ("update", "update_s"))}
        for key in middle:
            print(f"{count} processes  {key:8} said {said[key]:.3f} s, measured {middle[key]:.3f} s: {said[key] / middle[key] - 1:+.1%}")


if __name__ == "__main__":
    main()
