"""Study 5: requested lengths: matches before and after RL with the interval's score, and L1's budgets."""

import json
import tomllib

from papers.study import accuracy_of, draw, interval, last_checkpoint, mean, signed, table

CLAIM = "a graded reward teaches a policy to keep to a requested length"
PAPER = "Ruler: precise match below .4 for most open models; L1: within a few percent of the target (arXiv:2503.04697)"

START, TABLE = "configs/papers/requested_start.toml", "configs/lengths/chain_sum.toml"
JOBS = {
    "interval": ["configs/papers/requested.toml"],
    "interval of right answers": ["configs/papers/requested.toml", "configs/papers/baselines/requested_right.toml"],
    "L1-Exact": ["configs/papers/l1_exact.toml"],
    "L1-Max": ["configs/papers/l1_max.toml"],
}
LEARNED = 0.4  # accuracy of a start policy, a seventh of whose requests are too short for any right answer


def run(lab):
    targets = tomllib.loads(open(TABLE).read())["target"]
    starts = lab.starts(START, "requested_start", None, lambda run: accuracy_of(run) >= LEARNED)
    asking = prompts_of(lab, targets)
    jobs = [(name, seed, start) for name in JOBS for seed, start in starts]

    def one(job):
        name, seed, start = job
        folder = lab.out / "requested" / f"{name}-{seed}".replace(" ", "-")
        return last_checkpoint(lab.train(folder, JOBS[name], {"run.seed": seed, "model.path": start}))

    ends = dict(zip([job[:2] for job in jobs], lab.each(one, jobs)))
    seeds = [seed for seed, _ in starts]
    models = {"the start": [start for _, start in starts]} | {name: [ends[name, seed] for seed in seeds] for name in JOBS}
    rows, lines, matches = [], {}, {}
    for name, checkpoints in models.items():
        answers = lab.each(lambda model: answers_of(lab.rows(model, asking)), checkpoints)
        by_target = {t["name"]: [a for seed in answers for a in seed if a[0] == t["name"]] for t in targets}
        lines[name] = [(float(n), mean(a[1] for a in some)) for n, some in by_target.items()]
        matches[name] = [hits(answers, targets, kind) for kind in ("precise", "flexible")]
        off = mean(abs(a[1] - a[0]) / a[0] for seed in answers for a in seed)
        over = mean(a[1] > a[0] for seed in answers for a in seed)
        rows.append(
            [
                name,
                *(f"{mean(map(mean, match)):.3f}" for match in matches[name]),
                f"{100 * off:.0f} %",
                f"{100 * over:.0f} %",
                f"{mean(a[2] for seed in answers for a in seed):.3f}",
                f"{mean(a[1] for seed in answers for a in seed):.1f}",
            ]
        )
    lines["as asked"] = [(float(t["name"]), float(t["name"])) for t in targets]
    draw(lab.pictures / "requested.png", "Mean tokens by what was asked for", ("requested tokens", "mean tokens"), lines)
    gains = [
        signed((mean(map(mean, after)) - mean(map(mean, before)), *interval([[a - b for a, b in zip(*pair)] for pair in zip(after, before)])))
        for before, after in zip(matches["the start"], matches["interval"])
    ]
    here = "precise match " + ", ".join(f"{name} {mean(map(mean, match[0])):.3f}" for name, match in matches.items())
    return here, "\n\n".join(
        [
            f"Seeds {', '.join(map(str, seeds))}; 1,000 test prompts x 4 answers, each asking for one of {', '.join(str(t['name']) for t in targets)} tokens in turn.",
            table(["policy", "precise match", "flexible match", "off by", "longer than asked for", "accuracy", "tokens"], rows),
            "![Mean tokens by what was asked for](images/papers/requested.png)",
            f"RL with the interval's score of every answer changes precise match by {gains[0]} and flexible match by {gains[1]}. "
            "Short requests and right answers exclude each other for long sums: what is asked for is not always possible.",
            by_length(models, lab, asking, targets),
        ]
    )


def prompts_of(lab, targets):
    """The test prompts, each asking for one of the targets in turn."""
    path = lab.out / "requested_test.jsonl"
    if not path.exists():
        rows = [json.loads(line) for line in lab.test_prompts().open()]
        for i, row in enumerate(rows):
            target = targets[i % len(targets)]["name"]
            row |= {"prompt": f"{row['prompt']}?{target}", "target_length": target}
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers_of(path):
    """(requested, tokens, right, prompt) of each answer."""
    return [(r["target_length"], r["num_tokens"], bool(r["correct"]), r["group"]) for r in map(json.loads, path.open())]


def hits(answers, targets, kind):
    """[seeds][prompts] of the share of answers within the bounds."""
    bounds = {t["name"]: t[kind] for t in targets}
    out = []
    for seed in answers:
        groups = {}
        for asked, tokens, _, group in seed:
            low, high = bounds[asked]
            groups.setdefault(group, []).append(low < tokens <= high)
        out.append([mean(groups[g]) for g in sorted(groups)])
    return out


def by_length(models, lab, asking, targets):
    """Tokens, accuracy and share of longer answers of each policy by what was asked for."""
    rows = []
    for name, checkpoints in models.items():
        answers = [a for seed in lab.each(lambda model: answers_of(lab.rows(model, asking)), checkpoints) for a in seed]
        cells = []
        for target in targets:
            some = [a for a in answers if a[0] == target["name"]]
            longer = mean(a[1] > a[0] for a in some)
            cells.append(f"{mean(a[1] for a in some):.0f} / {mean(a[2] for a in some):.2f} / {100 * longer:.0f} %")
        rows.append([name, *cells])
    return table(["tokens / accuracy / longer, by request", *(str(t["name"]) for t in targets)], rows)
