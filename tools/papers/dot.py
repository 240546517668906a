"""Study 2: DOT, with and without its parts, and when it can fire."""

import math

from papers.study import Policy, draw, evaluations, last_checkpoint, mean, metrics_of, signed, table

CLAIM = "cutting outliers of solved groups shortens answers and costs no accuracy"
PAPER = "1.5B, AIME24: 15,498 to 3,342 tokens, accuracy 30.0 to 43.1 (arXiv:2601.03969)"

JOB, OVERLAYS = "configs/papers/dot.toml", "configs/papers/baselines"
# Of each: what is laid over the job, and keys.
VARIANTS = {
    "no DOT": ("no_dot", {}),
    "DOT": (None, {}),
    "DOT without KL-Cov": ("no_kl_cov", {}),
    "DOT without predictive sampling": (None, {"rollout.filter.refill": "none"}),
    "DOT, alpha 1.5": (None, {"transform.dot.alpha": 1.5}),
    "DOT, alpha 2": (None, {"transform.dot.alpha": 2}),
    "DOT, alpha 3, groups of 16": (
        None,
        {"transform.dot.alpha": 3, "rollout.num_generations": 16, "rollout.prompts_per_step": 12},
    ),
    "DOT, margin 32": (None, {"transform.dot.margin": 32}),
}
WANTED_CUT = 0.3


def folder(lab, variant, seed):
    return lab.out / "dot" / f"{variant}-{seed}".replace(" ", "-").replace(",", "")


def runs_of(lab, starts, variants):
    """{(variant, seed): folder}"""
    jobs = [(v, seed, start) for v in variants for seed, start in starts]

    def one(job):
        variant, seed, start = job
        overlay, keys = VARIANTS[variant]
        configs = [JOB] + ([f"{OVERLAYS}/{overlay}.toml"] if overlay else [])
        return lab.train(folder(lab, variant, seed), configs, {"run.seed": seed, "model.path": start, **keys})

    return dict(zip([job[:2] for job in jobs], lab.each(one, jobs)))


def run(lab):
    starts = lab.starts()
    runs = runs_of(lab, starts, VARIANTS)
    found = dict(zip(runs, lab.each(lambda run: lab.answers(last_checkpoint(run)), runs.values())))
    seeds = [seed for seed, _ in starts]
    start = Policy(lab.each(lambda s: lab.answers(s[1]), starts))
    policies = {v: Policy([found[v, seed] for seed in seeds]) for v in VARIANTS}
    grpo = policies["no DOT"]
    places = lab.unseen()
    rows = [["the start", f"{start.accuracy:.3f}", f"{start.length:.1f}", "", "", "", "", f"{start.on(places).accuracy:.3f}"]]
    for variant, policy in policies.items():
        own = policy is grpo
        # Length in percent of GRPO's own mean.
        shorter = policy.less(grpo, "tokens")
        rows.append(
            [
                variant,
                f"{policy.accuracy:.3f}",
                f"{policy.length:.1f}",
                "" if own else signed(policy.less(grpo)),
                "" if own else signed(shorter, 1, 100 / grpo.length) + " %",
                share([runs[variant, seed] for seed in seeds], "dot/eligible_groups", "dot/groups"),
                share([runs[variant, seed] for seed in seeds], "dot/cut", "samples/issued"),
                f"{policy.on(places).accuracy:.3f}",
            ]
        )
    change = policies["DOT"].less(grpo)
    cut = 1 - policies["DOT"].length / grpo.length
    held = change[2] >= 0
    verdict = (
        f"DOT cuts {100 * cut:.0f} % of the length of GRPO's end policy ({100 * WANTED_CUT:.0f} % were asked for: "
        f"{'reached' if cut >= WANTED_CUT else '**not reached**'}) at a change of accuracy of {signed(change)}: "
        f"{'no loss beyond noise' if held else '**a loss**'}. On sums of 6 to 8 terms it is {signed(policies['DOT'].on(places).less(grpo.on(places)))}. By seed, tokens of GRPO and of DOT: "
        + "; ".join(f"{seed}: {mean(a):.1f}, {mean(b):.1f}" for seed, a, b in zip(seeds, grpo.tokens, policies["DOT"].tokens))
        + "."
    )
    curves = {
        variant: [
            (step, mean(length for length in lengths))
            for step, lengths in by_step([runs[variant, seed] for seed in seeds], "eval/mean_length")
        ]
        for variant in VARIANTS
    }
    draw(lab.pictures / "dot.png", "Mean tokens over the steps (mean of the seeds)", ("step", "mean tokens"), curves)
    here = f"{100 * cut:.0f} % fewer tokens than GRPO at {signed(change)} accuracy"
    return here, "\n\n".join(
        [
            f"Seeds {', '.join(map(str, seeds))}; 1,000 test prompts x 4 answers; 125 steps of two updates each.",
            table(
                ["run", "accuracy", "tokens", "accuracy less that without DOT", "length less that without DOT", "groups all right", "responses cut", "accuracy on 6 to 8 terms"],
                rows,
            ),
            "![Mean tokens over the steps](images/papers/dot.png)",
            verdict,
            "When it can fire: the largest of n numbers is at most (n-1)/sqrt(n) standard deviations above their mean, "
            + ", ".join(f"{(n - 1) / math.sqrt(n):.2f} for n = {n}" for n in (8, 10, 11, 16, 32))
            + ". With alpha 3, the paper's, a group needs 11 responses or more (with 8 it is refused); the paper has 32.",
        ]
    )


def by_step(runs, key):
    return [(steps[0][0], [value for _, value in steps]) for steps in zip(*(evaluations(run, key) for run in runs))]


def share(runs, part, whole):
    """Of all steps of some runs."""
    rows = [row for run in runs for row in metrics_of(run) if row["phase"] == "rl"]
    total = sum(row.get(whole, 0) for row in rows)
    return f"{100 * sum(row.get(part, 0) for row in rows) / total:.1f} %" if total else ""
