"""Study 9: length-controlled comparison: a run that is only longer does not win."""

from papers import drpo
from papers.study import Policy, draw, last_checkpoint, mean, table

CLAIM = "a run that is only longer does not win"
PAPER = "gameability by length from 25 % to 10 % (arXiv:2404.04475)"

LONGER = "configs/papers/longer.toml"
BUDGET = 24  # tokens at which a side is cut


def run(lab):
    """Beside policies of the first study, which are trained if need be."""
    starts = lab.starts()
    ends = drpo.ends(lab, starts, [("penalty", 0), ("DRPO", 0.1)])

    def longer(start):
        seed, checkpoint = start
        folder = lab.out / "controlled" / f"longer-{seed}"
        return last_checkpoint(lab.train(folder, [LONGER], {"run.seed": seed, "model.path": checkpoint}))

    test = lab.test_prompts()
    grpo = [lab.rows(ends["penalty", 0, seed], test) for seed, _ in starts]
    short = [lab.rows(ends["DRPO", 0.1, seed], test) for seed, _ in starts]
    padded = [lab.rows(model, test) for model in lab.each(longer, starts)]
    whole = [lab.rows(start, test) for _, start in starts]
    cut = [lab.rows(start, test, options=("--max-completion-length", BUDGET)) for _, start in starts]
    pairs = {
        "the longer run against GRPO": (grpo, padded),
        "GRPO against DRPO": (short, grpo),
        f"the start against itself cut at {BUDGET} tokens": (cut, whole),
    }
    rows, points = [], {"wins": [], "wins at equal lengths": []}
    for place, (name, (first, second)) in enumerate(pairs.items()):
        found = [lab.json_of(["compare", a, b])["pairs"][0] for a, b in zip(first, second)]
        rows.append([name, *cells(found)])
        points["wins"].append((place, mean(one["win"] for one in found)))
        points["wins at equal lengths"].append((place, mean(one["win_length_controlled"] for one in found)))
    draw(
        lab.pictures / "controlled.png",
        "Win rate of the longer side, raw and at equal lengths (mean of the seeds)",
        ("", "win rate"),
        points,
        ["set xtics ('longer run' 0, 'GRPO / DRPO' 1, 'whole / cut' 2)", "set xrange [-0.3:2.3]"],
        lines_between=False,
    )
    heads = ["", "length, longer less shorter", "accuracy, longer less shorter", "wins", "wins at equal lengths", "coefficient of length"]
    here = "; ".join(f"{row[0]}: wins {row[3].split()[0]}, at equal lengths {row[4].split()[0]}" for row in rows)
    return here, "\n\n".join(
        [
            f"Seeds {', '.join(str(seed) for seed, _ in starts)}; 1,000 test prompts x 4 answers; `vernier compare` of the longer side against the shorter; "
            "mean of the seeds, and each of them.",
            table(heads, rows),
            "![Win rates](images/papers/controlled.png)",
        ]
    )


def cells(found):
    def cell(key, form):
        return f"{mean(one[key] for one in found):{form}} (" + ", ".join(f"{one[key]:{form}}" for one in found) + ")"

    return [
        cell("length_difference", "+.1f"),
        cell("accuracy_difference", "+.3f"),
        cell("win", ".3f"),
        cell("win_length_controlled", ".3f"),
        cell("length_effect", "+.2f"),
    ]
