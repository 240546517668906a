"""Study 7: easy-to-hard: what training on easy prompts recovers of the gain on hard ones."""

from papers.study import Policy, draw, last_checkpoint, mean, percent, signed, table

CLAIM = "training on easy prompts recovers most of the gain on hard ones"
PAPER = "70 to 100 % of the gap (arXiv:2401.06751)"

JOB = "configs/papers/easy_to_hard.toml"
VARIANTS = {
    "easy (2 to 4 terms)": {},
    "hard (6 to 8 terms)": {"data.chain_sum.min_terms": 6, "data.chain_sum.max_terms": 8},
    "all (2 to 8 terms)": {"data.chain_sum.max_terms": 8},
}


def run(lab):
    starts = lab.starts()
    hard = lab.prompts("test_hard", {"data.eval_seed": 4322, "data.chain_sum.min_terms": 6})
    jobs = [(v, seed, start) for v in VARIANTS for seed, start in starts]

    def one(job):
        variant, seed, start = job
        folder = lab.out / "easy_to_hard" / f"{variant.split()[0]}-{seed}"
        return last_checkpoint(lab.train(folder, [JOB], {"run.seed": seed, "model.path": start, **VARIANTS[variant]}))

    ends = dict(zip([job[:2] for job in jobs], lab.each(one, jobs)))
    seeds = [seed for seed, _ in starts]
    untrained = Policy(lab.each(lambda s: lab.answers(s[1], hard), starts))
    policies = {v: Policy(lab.each(lambda seed: lab.answers(ends[v, seed], hard), seeds)) for v in VARIANTS}
    gain = policies["hard (6 to 8 terms)"].accuracy - untrained.accuracy
    rows = [["untrained", f"{untrained.accuracy:.3f}", f"{untrained.length:.1f}", "", ""]]
    for variant, policy in policies.items():
        own = policy.less(untrained)
        rows.append([variant, f"{policy.accuracy:.3f}", f"{policy.length:.1f}", signed(own), percent(own[0], gain)])
    gaps = []
    for seed, start in starts:
        sides = [lab.rows(m, hard) for m in (start, ends["easy (2 to 4 terms)", seed], ends["hard (6 to 8 terms)", seed])]
        found = lab.json_of(["compare", "--gap", *sides])
        gaps.append((seed, found))
    bars = {
        "untrained": [(i, mean(p)) for i, p in enumerate(untrained.right)],
        **{v: [(i, mean(p)) for i, p in enumerate(policy.right)] for v, policy in policies.items()},
    }
    labels = ", ".join(f"'seed {seed}' {i}" for i, seed in enumerate(seeds))
    draw(
        lab.pictures / "easy_to_hard.png",
        "Accuracy on hard test prompts by what was trained on",
        ("", "accuracy"),
        bars,
        [f"set xtics ({labels})", f"set xrange [-0.3:{len(seeds) - 0.7}]"],
        lines_between=False,
    )
    here = f"{rows[1][4]} of the gap on sums of 6 to 8 terms"
    return here, "\n\n".join(
        [
            f"Seeds {', '.join(map(str, seeds))}; 1,000 test prompts of 6 to 8 terms x 4 answers.",
            table(["trained on", "accuracy", "tokens", "gain over untrained", "supervision gap recovered"], rows),
            "![Accuracy on hard test prompts](images/papers/easy_to_hard.png)",
            "By seed, `vernier compare --gap`: " + "; ".join(f"{seed}: {sgr(found)}" for seed, found in gaps) + ".",
        ]
    )


def sgr(found):
    gap = found["supervision_gap"]
    if gap["recovered"] is None:
        return "undefined"
    return "{recovered:.2f} [{recovered_low:.2f}, {recovered_high:.2f}]".format(**gap)
