"""One setting against another on the quickstart's task: several seeds, the same prompts.

    python3 tools/paired_seeds.py bf16|staleness [--out runs/KIND] [--seeds 1-3] [--methods grpo,drpo] [--jobs 2]

bf16: trainer.precision against fp32. staleness: one rank that samples a step ahead of one that trains (max_staleness = 1)
against one process. Each configuration of configs/quickstart is run from the start policy of tools/quickstart
(runs/quickstart/start) both ways with every seed. The policies answer 2,000 fresh prompts four times (fresh_prompts.py).
Prints the paired differences with 95 % intervals, seeds and prompts as clusters. Within noise: the interval holds 0 and
is no wider than 0.02 of accuracy and 5 % of length to either side. Runs that are finished are not run again.
"""

import pathlib
from concurrent.futures import ThreadPoolExecutor

from fresh_prompts import answers, interval, last_step, mean, options_of, seeds_of, train

AHEAD = {"rollout.mode": "disaggregated", "rollout.ranks": 1, "rollout.max_staleness": 1}
# Name, keys and ranks of both ways.
KINDS = {
    "bf16": (("fp32", {"trainer.precision": "fp32"}, 1), ("bf16", {"trainer.precision": "bf16"}, 1)),
    "staleness": (("staleness 0", {}, 1), ("staleness 1", AHEAD, 2)),
}


def show(method, names, one, other):
    accuracy = [[b[0] - a[0] for a, b in zip(*pair)] for pair in zip(one, other)]
    length = [[b[1] - a[1] for a, b in zip(*pair)] for pair in zip(one, other)]
    whole = mean([mean([tokens for _, tokens in row]) for row in one])
    low, high = interval(accuracy)
    short, long = (100 * x / whole for x in interval(length))
    noise = low <= 0 <= high and high - low <= 0.04 and short <= 0 <= long and long - short <= 10
    print(
        f"{method:8} {names[0]} {mean([mean([a for a, _ in row]) for row in one]):.3f} at {whole:.1f} tokens; {names[1]} less {names[0]}: "
        f"accuracy {mean([mean(row) for row in accuracy]):+.4f} [{low:+.4f}, {high:+.4f}], "
        f"length {100 * mean([mean(row) for row in length]) / whole:+.1f} % [{short:+.1f}, {long:+.1f}]: "
        + ("within noise" if noise else "NOT within noise")
    )


def main():
    parser = options_of(__doc__, None, "1-3", "grpo,drpo")
    parser.add_argument("kind", choices=KINDS)
    options = parser.parse_args()
    out = options.out or pathlib.Path("runs") / options.kind
    ways = {name: (keys, ranks) for name, keys, ranks in KINDS[options.kind]}
    seeds, methods = seeds_of(options), options.methods.split(",")

    def folder(method, way, seed):
        return out / f"{method}-{way.replace(' ', '-')}-{seed}"

    def run(job):
        method, way, seed = job
        keys, ranks = ways[way]
        train(options.vernier, f"configs/quickstart/{method}.toml", folder(*job), {"run.seed": seed, **keys}, ranks)

    jobs = [(m, w, s) for m in methods for s in seeds for w in ways]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(run, jobs))
        found = dict(zip(jobs, pool.map(lambda job: answers(options.vernier, folder(*job), last_step(folder(*job))), jobs)))
    for method in methods:
        show(method, list(ways), *([found[(method, way, s)] for s in seeds] for way in ways))


if __name__ == "__main__":
    main()
