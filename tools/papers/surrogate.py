"""Study 3: format and length in place of ground truth."""

from papers.dot import by_step
from papers.study import Policy, draw, last_checkpoint, mean, percent, signed, table

CLAIM = "format and length in place of ground truth reach what ground truth reaches; a length that is far too short does not"
PAPER = "7B: from 36.6 to 56.8, with ground truth 53.0; p = .1 degrades (arXiv:2505.19439)"

JOB = "configs/papers/surrogate.toml"
OTHERS = "configs/papers/baselines"
VARIANTS = {
    "format alone": ([JOB, f"{OTHERS}/format.toml"], {}),
    "format and length, p = .1": ([JOB], {"reward.length_surrogate.p": 0.1}),
    "format and length, p = .3": ([JOB], {"reward.length_surrogate.p": 0.3}),
    "format and length, p = .5": ([JOB], {}),
    "format and length, p = .8": ([JOB], {"reward.length_surrogate.p": 0.8}),
    "ground truth": ([JOB, f"{OTHERS}/grpo.toml"], {}),
}


def run(lab):
    starts = lab.starts()
    jobs = [(v, seed, start) for v in VARIANTS for seed, start in starts]

    def one(job):
        variant, seed, start = job
        configs, keys = VARIANTS[variant]
        name = f"{variant}-{seed}".replace(" ", "-").replace(",", "").replace("=-", "")
        return lab.train(lab.out / "surrogate" / name, configs, {"run.seed": seed, "model.path": start, **keys})

    runs = dict(zip([job[:2] for job in jobs], lab.each(one, jobs)))
    found = dict(zip(runs, lab.each(lambda run: lab.answers(last_checkpoint(run)), runs.values())))
    seeds = [seed for seed, _ in starts]
    start = Policy(lab.each(lambda s: lab.answers(s[1]), starts))
    policies = {v: Policy([found[v, seed] for seed in seeds]) for v in VARIANTS}
    truth = policies["ground truth"].accuracy - start.accuracy
    rows = [["the start", f"{start.accuracy:.3f}", f"{start.length:.1f}", "", ""]]
    for variant, policy in policies.items():
        gain = policy.less(start)
        rows.append([variant, f"{policy.accuracy:.3f}", f"{policy.length:.1f}", signed(gain), percent(gain[0], truth)])
    curves = {
        variant: [(step, mean(values)) for step, values in by_step([runs[variant, seed] for seed in seeds], "eval/accuracy")]
        for variant in VARIANTS
    }
    draw(lab.pictures / "surrogate.png", "Accuracy over the steps (mean of the seeds)", ("step", "accuracy"), curves)
    best, worst = policies["format and length, p = .5"].less(start), policies["format and length, p = .1"].less(start)
    verdict = (
        f"With p = .5 the gain over the start is {signed(best)}: {'above 0' if best[1] > 0 else '**not above 0 for sure**'}; "
        f"it is {percent(best[0], truth)} of what ground truth gains. With p = .1, a length that is far too short, it is {signed(worst)}: "
        + ("it reverses." if worst[2] < 0 else "it vanishes." if worst[1] <= 0 else "**it neither vanishes nor reverses.**")
    )
    here = (
        f"from {start.accuracy:.3f} to {policies['format and length, p = .5'].accuracy:.3f} with p = .5, {policies['ground truth'].accuracy:.3f} with ground truth, "
        f"{policies['format and length, p = .1'].accuracy:.3f} with p = .1"
    )
    return here, "\n\n".join(
        [
            f"Seeds {', '.join(map(str, seeds))}; 1,000 test prompts x 4 answers; p times 120 tokens is the length of highest reward.",
            table(["reward", "accuracy", "tokens", "gain over the start", "of ground truth's gain"], rows),
            "![Accuracy over the steps](images/papers/surrogate.png)",
            verdict,
        ]
    )
