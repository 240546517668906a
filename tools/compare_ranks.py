#!/usr/bin/env python3
"""Runs a job by one process and by several ranks, and says whether samples, metrics, weights and moments are the same bits.

    tools/compare_ranks.py CONFIG.toml [--set KEY=VALUE ...] [--ranks 2,4,1+1,1+2,1+3] [--shards none,optimizer,full]
                           [--torchrun PATH] [--vernier PATH]

T+S: T ranks train and S only sample. The job gets run.deterministic = true and stores the responses of every fifth step.
With --torchrun the ranks are started by it, else by --nproc. Standard library only.
"""

import pathlib
import sys
import tempfile
import time

from compare_plan import call, job_parser

ROOT = pathlib.Path(__file__).resolve().parent.parent
EVERY = 5


def run(options, folder, ranks, more):
    job = ["train", *options.config, "--run", folder, "--set", "run.deterministic=true", "--set",
           f"log.rollouts.every={EVERY}", *[part for one in options.set + more for part in ("--set", one)]]
    command = [options.vernier, *job]
    if ranks > 1 and options.torchrun:
        command = [options.torchrun, "--standalone", "--nproc-per-node", ranks, "--no-python", "--", *command]
    elif ranks > 1:
        command += ["--nproc", ranks]
    began = time.time()
    call(command)
    return time.time() - began


def main():
    parser = job_parser(__doc__)
    parser.add_argument("--ranks", default="2,4,1+1,1+2,1+3")
    parser.add_argument("--shards", default="none,optimizer,full")
    parser.add_argument("--torchrun")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    sys.argv = [sys.argv[0]]
    from ranks import result_of  # what must not depend on the number of ranks

    differing = 0
    with tempfile.TemporaryDirectory(prefix="vernier-compare-") as name:
        folder = pathlib.Path(name)
        seconds = run(options, folder / "one", 1, [])
        steps = max(int(path.name.split("-")[-1]) for path in (folder / "one").glob("checkpoint-[0-9]*"))
        stored = range(EVERY, steps + 1, EVERY)
        one = result_of(folder / "one", steps, stored)
        print(f"one process: {steps} steps, {seconds:.0f} s", flush=True)
        for placed in options.ranks.split(","):
            train, _, sample = placed.partition("+")
            apart = ["rollout.mode=disaggregated", f"rollout.ranks={sample}"] if sample else []
            for shard in options.shards.split(","):
                at = folder / f"{placed}-{shard}"
                seconds = run(options, at, int(train) + int(sample or 0), [f"trainer.shard={shard}", *apart])
                other = result_of(at, steps, stored)
                wrong = [key for key in one if one[key] != other[key]]
                differing += bool(wrong)
                said = "the same bits" if not wrong else "DIFFERS: " + ", ".join(wrong)
                print(f"{placed} ranks, shard {shard}: {said}, {seconds:.0f} s", flush=True)
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
