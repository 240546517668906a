"""Study 4: When More is Less: accuracy over length of the start policies, where it is highest, and where RL goes."""

import json
import math
import random
from typing import NamedTuple

from papers.study import ANSWERS, draw, last_checkpoint, mean, table

CLAIM = "accuracy is an inverted U in length; its peak grows with difficulty and falls with the size of the model; RL goes there; a vote of lengths that agree beats the majority"
PAPER = "peak at 10 to 11 steps for 1.5B and 7B, 3 to 4 for 32B and 72B; correlation with difficulty r = 0.39 (arXiv:2502.07266)"

START, JOB = "configs/papers/more_is_less_start.toml", "configs/papers/more_is_less.toml"
SIZES = {"small (64 wide)": {}, "large (128 wide)": {"model.new.hidden_size": 128, "model.new.intermediate_size": 352}}
SAMPLES = 16  # answers to a prompt of the start policies
BANDS = [(2, 3), (4, 5), (6, 8)]
BIN = 8  # tokens


def run(lab):
    starts = {}
    for size, keys in SIZES.items():
        starts[size] = lab.starts(START, "more_is_less_start-" + size.split()[0], keys)
    jobs = [(size, seed, start) for size in SIZES for seed, start in starts[size]]

    def one(job):
        size, seed, start = job
        folder = lab.out / "more_is_less" / f"{size.split()[0]}-{seed}"
        return lab.train(folder, [JOB], {"run.seed": seed, "model.path": start})

    runs = lab.each(one, jobs)
    sampled = lab.each(lambda job: rows_of(lab.rows(job[2], lab.test_prompts(), SAMPLES)), jobs)
    ends = lab.each(lambda run: rows_of(lab.rows(last_checkpoint(run), lab.test_prompts())), runs)
    of_size = {size: [i for i, job in enumerate(jobs) if job[0] == size] for size in SIZES}
    curves, rows = {}, []
    for size, places in of_size.items():
        before = [row for i in places for row in sampled[i]]
        after = [row for i in places for row in ends[i]]
        for low, high in BANDS:
            start, end = ([r for r in some if low <= r.terms <= high] for some in (before, after))
            bins = binned(start)
            curves[f"{size.split()[0]}, {low} to {high} terms"] = [(x, y) for x, y, _ in bins]
            peak, steps = max(bins, key=lambda b: b[1]), fit(start)
            rows.append(
                [
                    size,
                    f"{low} to {high}",
                    f"{mean(r.right for r in start):.3f}",
                    f"{peak[0]:.0f} (accuracy {peak[1]:.3f})",
                    steps,
                    "yes" if inverted(bins) else "no",
                    f"{mean(r.tokens for r in start):.1f}",
                    f"{mean(r.tokens for r in end):.1f}",
                    f"{mean(r.right for r in end):.3f}",
                ]
            )
    draw(lab.pictures / "more_is_less.png", "Accuracy of the start policies by length", ("tokens of the answer", "accuracy"), curves)
    votes = [[size, *vote_cells(lab, [jobs[i][2] for i in places])] for size, places in of_size.items()]
    here = "peaks over difficulty, in tokens: " + "; ".join(
        f"{size.split()[0]}: {', '.join(row[3].split()[0] for row in rows if row[0] == size)}" for size in SIZES
    )
    return here, "\n\n".join(
        [
            "Seeds "
            + "; ".join(f"{size.split()[0]}: {', '.join(str(seed) for seed, _ in starts[size])}" for size in SIZES)
            + f"; start policies: 1,000 test prompts x {SAMPLES} answers, bins of {BIN} tokens with at least 1 % of the answers; end policies: x {ANSWERS}. "
            f"Answers that are cut at 120 tokens, {cut_share(sampled)} of the starts' and {cut_share(ends)} of the ends', count as what they are for accuracy and mean length, and not for the curves, their peaks and parabolas.",
            table(
                ["model", "terms", "accuracy", "length of highest accuracy", "the same, of a parabola in log length", "inverted U", "mean length", "after RL", "accuracy after RL"],
                rows,
            ),
            "![Accuracy of the start policies by length](images/papers/more_is_less.png)",
            drift(of_size, sampled, ends),
            table(["vote among 16", "one answer", "majority", "length-filtered less majority", "random buckets", "shortest"], votes),
        ]
    )


class Answer(NamedTuple):
    terms: int
    tokens: int
    right: bool
    whole: bool  # false: cut at the limit, so that its length is not known
    prompt: int


def rows_of(path):
    return [
        Answer(r["difficulty"], r["num_tokens"], bool(r["correct"]), r["finish_reason"] == "stop", r["group"])
        for r in map(json.loads, path.open())
    ]


def binned(rows):
    """(mean tokens, accuracy, answers) of each bin that has enough, of answers that are whole."""
    bins = {}
    for row in rows:
        if row.whole:
            bins.setdefault(row.tokens // BIN, []).append((row.tokens, row.right))
    return [
        (mean(t for t, _ in some), mean(r for _, r in some), len(some))
        for _, some in sorted(bins.items())
        if len(some) >= 0.01 * len(rows)
    ]


def inverted(bins):
    """Whether the highest bin is an inner one and both outermost lie below it, by 95 % intervals that do not touch."""

    def bounds(b):
        # Wilson
        z, (_, p, n) = 1.96, b
        middle, half = p + z * z / 2 / n, z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
        return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)

    top = max(range(len(bins)), key=lambda i: bins[i][1])
    if top in (0, len(bins) - 1):
        return False
    return all(bounds(bins[i])[1] < bounds(bins[top])[0] for i in (0, len(bins) - 1))


def fit(rows, draws=200):
    """Peak of the least-squares parabola of right or wrong in log tokens, of whole answers, with a 95 % interval from a
    bootstrap over prompts, whose answers stay together; "none" where it lies outside all lengths, or does so in more
    than 5 % of the draws.
    """
    rows = [row for row in rows if row.whole]
    center = mean(math.log(row.tokens) for row in rows)
    low, high = (math.log(of(row.tokens for row in rows)) for of in (min, max))
    groups = {}  # of each prompt: sums of x^0 to x^4, and of y x^0 to y x^2
    for row in rows:
        x = math.log(row.tokens) - center
        sums = groups.setdefault(row.prompt, [0.0] * 8)
        for place, term in enumerate([1, x, x**2, x**3, x**4] + [row.right * x**k for k in range(3)]):
            sums[place] += term
    groups = list(groups.values())

    def peak(some):
        sums = [sum(column) for column in zip(*some)]
        _, b, c = solve([sums[i : i + 3] for i in range(3)], sums[5:])
        place = center - b / (2 * c) if c < 0 else math.inf
        return math.exp(place) if low <= place <= high else None

    generator = random.Random(1)
    found = sorted(p for p in (peak(generator.choices(groups, k=len(groups))) for _ in range(draws)) if p)
    whole = peak(groups)
    if whole is None or len(found) < 0.95 * draws:
        return "none"
    return f"{whole:.0f} [{found[int(0.025 * len(found))]:.0f}, {found[int(0.975 * len(found))]:.0f}]"


def solve(matrix, side):
    """Of three equations, by Cramer's rule."""

    def det(m):
        return (
            m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
            - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
        )

    whole = det(matrix)
    return [det([[side[i] if j == k else matrix[i][j] for j in range(3)] for i in range(3)]) / whole for k in range(3)]


def cut_share(runs):
    return f"{100 * mean(not row.whole for rows in runs for row in rows):.1f} %"


def drift(of_size, sampled, ends):
    """How far mean length is from that of highest accuracy, in octaves, before and after RL."""
    parts = []
    for size, places in of_size.items():
        before = after = 0.0
        for low, high in BANDS:
            start, end = (
                [r for i in places for r in some[i] if low <= r.terms <= high] for some in (sampled, ends)
            )
            peak = max(binned(start), key=lambda b: b[1])[0]
            before += abs(math.log2(mean(r.tokens for r in start) / peak)) / len(BANDS)
            after += abs(math.log2(mean(r.tokens for r in end) / peak)) / len(BANDS)
        parts.append(f"{size}: {before:.2f} octaves before RL, {after:.2f} after: {'nearer' if after < before else '**farther**'}")
    return "Mean length against the length of highest accuracy of the start, mean over the bands: " + "; ".join(parts) + "."


def vote_cells(lab, starts):
    found = [lab.json_of(["eval", "--rollouts", lab.rows(start, lab.test_prompts(), SAMPLES), "--k", f"1,{SAMPLES}"]) for start in starts]

    def of(*keys):
        return mean(value(one, keys) for one in found)

    def value(one, keys):
        for key in keys:
            one = one[key]
        return one

    filtered, majority = of("filtered_vote", "filtered"), of("filtered_vote", "majority")
    return [
        f"{of('choices', 0, 'pass'):.3f}",
        f"{majority:.3f}",
        f"{filtered - majority:+.3f}",
        f"{of('filtered_vote', 'random'):.3f}",
        f"{of('choices', 1, 'shortest'):.3f}",
    ]
