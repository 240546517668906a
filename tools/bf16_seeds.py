"""Training in bf16 against fp32 on the quickstart's task: several seeds, the same prompts.

    python3 tools/bf16_seeds.py [--out runs/bf16] [--seeds 1-3] [--methods grpo,drpo] [--jobs 2]

Each configuration of configs/quickstart is run from the start policy of tools/quickstart (runs/quickstart/start) with
both precisions and every seed. The policies answer 2,000 fresh prompts four times (fresh_prompts.py). Prints the paired
differences with 95 % intervals, seeds and prompts as clusters. Within noise: the interval holds 0 and is no wider than
0.02 of accuracy and 5 % of length to either side. Runs that are finished are not run again.
"""

from concurrent.futures import ThreadPoolExecutor

from fresh_prompts import answers, interval, last_step, mean, options_of, seeds_of, train


def run(vernier, folder, method, precision, seed):
    train(vernier, f"configs/quickstart/{method}.toml", folder, {"run.seed": seed, "trainer.precision": precision})


def show(method, fp32, bf16):
    accuracy = [[b[0] - a[0] for a, b in zip(*pair)] for pair in zip(fp32, bf16)]
    length = [[b[1] - a[1] for a, b in zip(*pair)] for pair in zip(fp32, bf16)]
    whole = mean([mean([tokens for _, tokens in row]) for row in fp32])
    low, high = interval(accuracy)
    short, long = (100 * x / whole for x in interval(length))
    noise = low <= 0 <= high and high - low <= 0.04 and short <= 0 <= long and long - short <= 10
    print(
        f"{method:8} fp32 {mean([mean([a for a, _ in row]) for row in fp32]):.3f} at {whole:.1f} tokens; bf16 less fp32: "
        f"accuracy {mean([mean(row) for row in accuracy]):+.4f} [{low:+.4f}, {high:+.4f}], "
        f"length {100 * mean([mean(row) for row in length]) / whole:+.1f} % [{short:+.1f}, {long:+.1f}]: "
        + ("within noise" if noise else "NOT within noise")
    )


def main():
    options = options_of(__doc__, "runs/bf16", "1-3", "grpo,drpo").parse_args()
    seeds = seeds_of(options)
    methods = options.methods.split(",")

    def folder(method, precision, seed):
        return options.out / f"{method}-{precision}-{seed}"

    jobs = [(m, p, s) for m in methods for s in seeds for p in ("fp32", "bf16")]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda job: run(options.vernier, folder(*job), *job), jobs))
    found = {job: answers(options.vernier, folder(*job), last_step(folder(*job))) for job in jobs}
    for method in methods:
        show(method, *([found[(method, p, s)] for s in seeds] for p in ("fp32", "bf16")))


if __name__ == "__main__":
    main()
