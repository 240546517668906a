"""The guard on the quickstart's task: many seeds, many strengths to begin with, against a sweep of fixed ones.

    python3 tools/guard_seeds.py [--out runs/guard] [--seeds 1-10] [--methods naive,drpo] [--jobs 2] [--only sweep|guard]

Begins with the start policy of tools/quickstart (runs/quickstart/start). For each method of configs/guard:

1. a sweep: the same configuration without the guard, one run for each strength, from the first step to the last;
2. a guarded run for each seed, its strength to begin with the next of the same list.

Every policy that matters (the end of each run, the peak that each guard held its policy to) answers 2,000 fresh
prompts four times (fresh_prompts.py). Runs that are finished are not run again. Prints a table and writes OUT/summary.json.

A guarded run passes where accuracy is at most 0.03 below the peak's and length at most 20 % above that of the best
fixed strength: the shortest of the sweep that is at most 0.03 below the sweep's most accurate policy.
"""

import json
from concurrent.futures import ThreadPoolExecutor

from fresh_prompts import answers, interval, last_step, mean, options_of, seeds_of, train

MAX_LOSS = 0.03
MAX_LENGTH = 1.2
METHODS = {
    "naive": {"key": "reward.length_penalty.alpha", "strengths": [0.5, 1, 2, 4, 8]},
    "drpo": {"key": "algo.lambda", "strengths": [1, 0.3, 0.1, 0.05, 0.02]},
}


def run(vernier, folder, method, strength, seed, guarded):
    keys = {"run.seed": seed, METHODS[method]["key"]: strength}
    if not guarded:
        keys |= {"guard.max_accuracy_loss": 0, "run.eval_every": 100}
    train(vernier, f"configs/guard/{method}.toml", folder, keys)


def rows_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def peak_step(run):
    """Of the policy that the guard held the others to: the most accurate of its evaluations."""
    best = {}
    for row in rows_of(run):
        if row["phase"] == "eval" and "guard/move" in row:
            best.setdefault(row["eval/accuracy"], row["step"])
    return best[max(best)]


def sweep_row(vernier, run, strength):
    fresh = answers(vernier, run, last_step(run))
    return {"strength": strength, "accuracy": mean([a for a, _ in fresh]), "length": mean([t for _, t in fresh])}


def guard_row(vernier, run, strength, seed, best_fixed):
    end, peak = answers(vernier, run, last_step(run)), answers(vernier, run, peak_step(run))
    losses = [p[0] - e[0] for p, e in zip(peak, end)]
    low, high = interval([losses])
    moves = [row["guard/move"] for row in rows_of(run) if "guard/move" in row]
    length = mean([t for _, t in end])
    return {
        "seed": seed,
        "strength": strength,
        "accuracy": mean([a for a, _ in end]),
        "peak": mean([a for a, _ in peak]),
        "loss": mean(losses),
        "loss_low": low,
        "loss_high": high,
        "length": length,
        "length_ratio": length / best_fixed["length"],
        "steps": last_step(run),
        "roll_backs": moves.count("roll_back"),
        "passes": mean(losses) <= MAX_LOSS and length <= MAX_LENGTH * best_fixed["length"],
    }


def show(method, sweep, best_fixed, rows):
    print(f"\n{method}: a sweep of {METHODS[method]['key']}")
    for row in sweep:
        mark = "  <- best" if row is best_fixed else ""
        print(f"  {row['strength']:<6} accuracy {row['accuracy']:.3f}  length {row['length']:.1f}{mark}")
    print(f"{method}: guarded, max_accuracy_loss = {MAX_LOSS}")
    print(f"  {'seed':>4} {'begins':>6} {'peak':>6} {'end':>6} {'loss':>7} {'95 % interval':>17} {'length':>7} {'ratio':>6} {'steps':>6} {'back':>5}")
    for row in rows:
        loss = f"[{row['loss_low']:+.3f}, {row['loss_high']:+.3f}]"
        print(
            f"  {row['seed']:>4} {row['strength']:>6} {row['peak']:6.3f} {row['accuracy']:6.3f} {row['loss']:+7.3f} {loss:>17} "
            f"{row['length']:7.1f} {row['length_ratio']:6.2f} {row['steps']:>6} {row['roll_backs']:>5}"
            + ("" if row["passes"] else "  FAILS")
        )
    print(f"  {sum(row['passes'] for row in rows)} of {len(rows)} pass")


def main():
    parser = options_of(__doc__, "runs/guard", "1-10", ",".join(METHODS))
    parser.add_argument("--only", choices=["sweep", "guard"])
    options = parser.parse_args()
    jobs, summary = [], {}
    for method in options.methods.split(","):
        strengths = METHODS[method]["strengths"]
        if options.only != "guard":
            jobs += [(options.out / f"{method}-fixed-{s}", method, s, 1, False) for s in strengths]
        if options.only != "sweep":
            jobs += [
                (options.out / f"{method}-seed-{seed}", method, strengths[(seed - 1) % len(strengths)], seed, True)
                for seed in seeds_of(options)
            ]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda job: run(options.vernier, *job), jobs))
    if options.only:
        return
    for method in options.methods.split(","):
        sweep = [sweep_row(options.vernier, job[0], job[2]) for job in jobs if job[1] == method and not job[4]]
        most = max(row["accuracy"] for row in sweep)
        best_fixed = min((r for r in sweep if r["accuracy"] >= most - MAX_LOSS), key=lambda row: row["length"])
        rows = [guard_row(options.vernier, job[0], job[2], job[3], best_fixed) for job in jobs if job[1] == method and job[4]]
        show(method, sweep, best_fixed, rows)
        summary[method] = {"sweep": sweep, "best_fixed": best_fixed, "guarded": rows}
    (options.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
