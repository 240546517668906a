"""Study 1: DRPO against GRPO with penalties on length and the other baselines of its paper."""

from papers.study import Policy, aes, draw, evaluations, interval, last_checkpoint, mean, signed, table

CLAIM = "right answers weighed by their length among themselves get shorter at little cost of accuracy; penalties on length pay with accuracy"
PAPER = "7B: -51 % tokens for -2.6 % accuracy (AES +0.249); RLOO-LP -38 % for -7.1 % (arXiv:2510.04474)"

JOB, BASELINES = "configs/papers/drpo.toml", "configs/papers/baselines"
# Of each method: its file (none: the job's own), the key of its strength, and the strengths, from none on.
METHODS = {
    "DRPO": (None, "algo.lambda", ["inf", 0.3, 0.1, 0.03]),
    "penalty": ("penalty", "reward.length_penalty.alpha", [0, 1, 2, 4, 8]),
    "RLOO-LP": ("rloo_lp", "reward.arora.alpha", [0, 0.1, 0.2, 0.4]),
    "ALP": ("alp", "reward.alp.beta", [0, 0.1, 0.5]),
    "HAPO": ("hapo", "reward.hapo.term_weight", [0, 0.1, 1]),
    "ShorterBetter": ("shorter_better", None, ["0.02"]),
    "LASER-D": ("laser_d", None, ["0.5"]),
    "L1-Max": ("l1_max", None, ["30 tokens"]),
}
COLLAPSE = 0.15  # of accuracy below the start


def folder(lab, method, strength, seed):
    return lab.out / "drpo" / f"{method}-{strength}-{seed}".replace(" ", "-")


def ends(lab, starts, settings):
    """Last checkpoints, {(method, strength, seed): path}, of some [(method, strength)]."""
    jobs = [(m, s, seed, start) for m, s in settings for seed, start in starts]
    again = lab.prompts("train", {}, count=512, train=True)  # HAPO meets a prompt more than once

    def one(job):
        method, strength, seed, start = job
        file, key, _ = METHODS[method]
        keys = {"run.seed": seed, "model.path": start}
        if key:
            keys[key] = strength
        if method == "HAPO":
            keys |= {"data.train": again, "data.eval": again}
        configs = [JOB] + ([f"{BASELINES}/{file}.toml"] if file else [])
        return last_checkpoint(lab.train(folder(lab, method, strength, seed), configs, keys))

    return dict(zip([job[:3] for job in jobs], lab.each(one, jobs)))


def run(lab):
    starts = lab.starts()
    checkpoints = ends(lab, starts, [(m, s) for m, (_, _, strengths) in METHODS.items() for s in strengths])
    found = dict(zip(checkpoints, lab.each(lab.answers, checkpoints.values())))
    start = Policy(lab.each(lambda s: lab.answers(s[1]), starts))
    seeds = [seed for seed, _ in starts]
    policies = {(m, s): Policy([found[m, s, seed] for seed in seeds]) for m, (_, _, all_of) in METHODS.items() for s in all_of}
    # The three without a strength of their own are held against plain GRPO.
    grpo = policies["penalty", 0]
    places = lab.unseen()
    rows, points = [["none: the start", "", f"{start.accuracy:.3f}", f"{start.length:.1f}", "", "", "", f"{start.on(places).accuracy:.3f}"]], {}
    collapsed = {}
    for (method, strength), policy in policies.items():
        first = METHODS[method][2][0]
        reference = policies[method, first] if METHODS[method][1] else grpo
        own = policy is reference
        fallen = sum(
            sum(right) / len(right) < sum(base) / len(base) - COLLAPSE for right, base in zip(policy.right, start.right)
        )
        collapsed[method, strength] = fallen
        rows.append(
            [
                method,
                str(strength),
                f"{policy.accuracy:.3f}",
                f"{policy.length:.1f}",
                "" if own else f"{100 * (policy.length / reference.length - 1):+.0f} %",
                "" if own else signed(policy.less(reference)),
                "" if own else f"{aes(policy, reference):+.3f}",
                f"{policy.on(places).accuracy:.3f}",
            ]
        )
        if fallen:
            rows[-1][2] = f"**{rows[-1][2]}** ({fallen} of {len(seeds)} fell)"
        points.setdefault(method, []).append((policy.length, policy.accuracy))
    draw(lab.pictures / "drpo.png", "Accuracy against length, over strengths (mean of the seeds)", ("mean tokens", "accuracy"), points)
    chosen = {m: choose(lab, m, seeds) for m in ("DRPO", "penalty", "RLOO-LP")}
    scores = {m: aes(policies[m, s], policies[m, METHODS[m][2][0]]) for m, s in chosen.items()}
    drpo_worst = min(((policies["DRPO", s].accuracy, s) for s in METHODS["DRPO"][2]), key=lambda pair: pair[0])
    penalty_worst = min(((policies["penalty", s].accuracy, s) for s in METHODS["penalty"][2]), key=lambda pair: pair[0])
    here = (
        f"AES of DRPO {scores['DRPO']:+.3f} (lambda {chosen['DRPO']}), of the penalty {scores['penalty']:+.3f} (alpha {chosen['penalty']}), "
        f"of RLOO-LP {scores['RLOO-LP']:+.3f} (alpha {chosen['RLOO-LP']}), each at the strength with the best AES of the runs' own evaluations; "
        f"the least accuracy over strengths {drpo_worst[0]:.3f} of DRPO, {penalty_worst[0]:.3f} of the penalty (alpha {penalty_worst[1]})"
    )
    return here, "\n\n".join(
        [
            f"Seeds {', '.join(map(str, seeds))}; 1,000 test prompts x 4 answers. The reference of a row is the same method at its first strength, of the last three plain GRPO.",
            table(["method", "strength", "accuracy", "tokens", "length", "accuracy less reference", "AES", "accuracy on 6 to 8 terms"], rows),
            "![Accuracy against length over strengths](images/papers/drpo.png)",
            table(["method", "AES at its best strength here", "most that is cut within 0.03 of the reference", "accuracy at a cut of 70 %, on the line between two policies (theirs)"], summary(policies, grpo)),
            fronts(policies),
        ]
    )


def summary(policies, grpo):
    rows = []
    for method, (_, key, strengths) in METHODS.items():
        reference = policies[method, strengths[0]] if key else grpo
        others = [policies[method, s] for s in strengths if policies[method, s] is not reference]
        cuts = [1 - p.length / reference.length for p in others if p.accuracy >= reference.accuracy - 0.03]
        rows.append(
            [
                method,
                f"{max(aes(p, reference) for p in others):+.3f}",
                f"{100 * max(cuts):.0f} %" if cuts and max(cuts) > 0 else "none",
                at_length([policies[method, s] for s in strengths], 0.3 * reference.length),
            ]
        )
    return rows


def choose(lab, method, seeds):
    """The strength with the best AES of the runs' last own evaluations: test prompts choose nothing."""

    def ended(strength):
        runs = [folder(lab, method, strength, seed) for seed in seeds]
        pairs = [(evaluations(run)[-1][1], evaluations(run, "eval/mean_length")[-1][1]) for run in runs]
        return Policy([[pair] for pair in pairs])

    first, *others = METHODS[method][2]
    reference = ended(first)
    return max(others, key=lambda strength: aes(ended(strength), reference))


def neighbours(policies, length):
    """The two policies on either side of a length, and the weight of the second on the line between them."""
    ordered = sorted(policies, key=lambda p: p.length)
    for low, high in zip(ordered, ordered[1:]):
        if low.length <= length <= high.length and high.length > low.length:
            return low, high, (length - low.length) / (high.length - low.length)
    return None


def at_length(policies, length):
    """Accuracy on the straight line between the two policies on either side of a length, and theirs."""
    found = neighbours(policies, length)
    if not found:
        return "not reached"
    low, high, weight = found
    return f"{low.accuracy + (high.accuracy - low.accuracy) * weight:.3f} ({low.accuracy:.3f}, {high.accuracy:.3f})"


def fronts(policies):
    """DRPO's points against the penalty's front at the same length, with intervals over the paired prompts."""
    penalty = [policies["penalty", s] for s in METHODS["penalty"][2]]
    parts = []
    for strength in METHODS["DRPO"][2]:
        policy = policies["DRPO", strength]
        found = neighbours(penalty, policy.length)
        if not found:
            continue
        low, high, weight = found
        rows = [
            [right - (a + (b - a) * weight) for right, a, b in zip(*seed)]
            for seed in zip(policy.right, low.right, high.right)
        ]
        gap = mean(map(mean, rows))
        parts.append(f"lambda {strength}: {signed((gap, *interval(rows)))}" + (" (**below**)" if gap < 0 else ""))
    return "DRPO's accuracy less that of the penalty's front at the same length: " + ("; ".join(parts) or "no length in common") + "."
