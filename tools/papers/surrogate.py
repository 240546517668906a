"""Study 3: format and length in place of ground truth: ahead after few steps, gamed after many."""

from papers.dot import by_step
from papers.study import Policy, draw, mean, percent, signed, table

CLAIM = "format and length in place of ground truth reach what ground truth reaches; a length that is far too short does not"
PAPER = "7B: from 36.6 to 56.8, with ground truth 53.0; 85 % of the gain in the first 15 steps; p = .1 degrades (arXiv:2505.19439)"

JOB = "configs/papers/surrogate.toml"
OTHERS = "configs/papers/baselines"
VARIANTS = {
    "format alone": ([JOB, f"{OTHERS}/format.toml"], {}),
    "format and length, p = .1": ([JOB], {"reward.length_surrogate.p": 0.1}),
    "format and length, p = .3": ([JOB], {"reward.length_surrogate.p": 0.3}),
    "format and length, p = .5": ([JOB], {}),
    "format and length, p = .8": ([JOB], {"reward.length_surrogate.p": 0.8}),
    "p = .5, KL 0.05 to the start": ([JOB], {"algo.beta": 0.05}),
    "ground truth": ([JOB, f"{OTHERS}/grpo.toml"], {}),
}
# Steps at which the policies answer the test prompts. 25 is the first evaluation of a run: what the runs' own
# evaluation prompts say there, not the test prompts, is why it stands here.
FEW, MANY = 25, 125


def run(lab):
    starts = lab.starts()
    few, many = (1, 2) if lab.quick else (FEW, MANY)
    more = {"run.save_every": 1} if lab.quick else {}
    jobs = [(v, seed, start) for v in VARIANTS for seed, start in starts]

    def one(job):
        variant, seed, start = job
        configs, keys = VARIANTS[variant]
        name = f"{variant}-{seed}".replace(" ", "-").replace(",", "").replace("=-", "")
        return lab.train(lab.out / "surrogate" / name, configs, {"run.seed": seed, "model.path": start, **keys, **more})

    runs = dict(zip([job[:2] for job in jobs], lab.each(one, jobs)))
    seeds = [seed for seed, _ in starts]
    start = Policy(lab.each(lambda s: lab.answers(s[1]), starts))

    def policy(variant, step):
        return Policy(lab.each(lambda seed: lab.answers(runs[variant, seed] / f"checkpoint-{step}"), seeds))

    policies = {(v, step): policy(v, step) for v in VARIANTS for step in (few, many)}
    truth = {step: policies["ground truth", step].accuracy - start.accuracy for step in (few, many)}
    rows = [["the start", f"{start.accuracy:.3f}", f"{start.length:.1f}", "", "", "", "", "", ""]]
    for variant in VARIANTS:
        row = [variant]
        for step in (few, many):
            found, gain = policies[variant, step], policies[variant, step].less(start)
            row += [f"{found.accuracy:.3f}", f"{found.length:.1f}", signed(gain), percent(gain[0], truth[step])]
        rows.append(row)
    curves = {
        variant: [(step, mean(values)) for step, values in by_step([runs[variant, seed] for seed in seeds], "eval/accuracy")]
        for variant in VARIANTS
    }
    draw(lab.pictures / "surrogate.png", "Accuracy over the steps (mean of the seeds)", ("step", "accuracy"), curves)
    best, worst = (policies[f"format and length, p = {p}", few].less(start) for p in (".5", ".1"))
    late = policies["format and length, p = .5", many].less(start)
    verdict = (
        f"After {few} steps the gain over the start with p = .5 is {signed(best)}: {'above 0' if best[1] > 0 else '**not above 0 for sure**'}, "
        f"{percent(best[0], truth[few])} of what ground truth gains by then. With p = .1, a length that is far too short, it is {signed(worst)}: "
        + ("it reverses." if worst[2] < 0 else "it vanishes." if worst[1] <= 0 else "**it neither vanishes nor reverses.**")
        + f" After {many} steps p = .5 stands at {signed(late)}"
        + (": **by then it is gamed**." if late[2] < 0 else ".")
    )
    places = lab.unseen()
    hard = start.on(places)
    gains = [(p, policies[f"format and length, p = {p}", few].on(places).less(hard)) for p in (".5", ".1")]
    verdict += f" On sums of 6 to 8 terms, where the start is at {hard.accuracy:.3f}, the gain after {few} steps is " + ", ".join(
        f"{signed(gain)} with p = {p}" for p, gain in gains
    )
    verdict += "."
    here = (
        f"from {start.accuracy:.3f} to {policies['format and length, p = .5', few].accuracy:.3f} in {few} steps with p = .5, {policies['ground truth', few].accuracy:.3f} "
        f"with ground truth, {policies['format and length, p = .1', few].accuracy:.3f} with p = .1; in {many} steps p = .5 ends at "
        f"{policies['format and length, p = .5', many].accuracy:.3f}"
    )
    heads = [f"{what}, {step} steps" for step in (few, many) for what in ("accuracy", "tokens", "gain", "of ground truth's")]
    return here, "\n\n".join(
        [
            f"Seeds {', '.join(map(str, seeds))}; 1,000 test prompts x 4 answers; p times 120 tokens is the length of highest reward.",
            table(["reward", *heads], rows),
            "![Accuracy over the steps](images/papers/surrogate.png)",
            verdict,
        ]
    )
