"""Study 8: YapIndex before and after DRPO and DOT: policies of the first two studies, which are trained if need be."""

import json

from papers import dot, drpo
from papers.study import draw, last_checkpoint, mean, table

CLAIM = "length methods cut what stands above a minimal sufficient answer"
PAPER = "none: YapBench measures models as they are (arXiv:2601.00624)"

BANDS = [(2, 3), (4, 5), (6, 8)]
NUMBERS = {"YapIndex": "yap/index", "of right answers": "yap/index/correct"}


def run(lab):
    starts = lab.starts()
    ends = drpo.ends(lab, starts, [("penalty", 0), ("DRPO", 0.1)])
    dots = dot.runs_of(lab, starts, ["DOT"])
    prompts = prompts_of(lab)
    models = {
        "the start": [start for _, start in starts],
        "GRPO": [ends["penalty", 0, seed] for seed, _ in starts],
        "DRPO, lambda 0.1": [ends["DRPO", 0.1, seed] for seed, _ in starts],
        "DOT": [last_checkpoint(dots["DOT", seed]) for seed, _ in starts],
    }
    rows, lines = [], {}
    for name, checkpoints in models.items():
        found = lab.each(lambda model: lab.json_of(["eval", "--rollouts", lab.rows(model, prompts)]), checkpoints)
        tasks = [mean(one["lengths"][f"yap/{band_name(band)}"]["value"] for one in found) for band in BANDS]
        lines[name] = [(i, value) for i, value in enumerate(tasks)]
        rows.append(
            [
                name,
                f"{mean(one['accuracy'] for one in found):.3f}",
                *(number(found, key) for key in NUMBERS.values()),
                *(f"{value:.1f}" for value in tasks),
                "; ".join(
                    "[{value_low:.1f}, {value_high:.1f}]".format(**one["lengths"]["yap/index"]) for one in found
                ),
            ]
        )
    labels = ", ".join(f"'{band_name(band).replace('_', ' ')}' {i}" for i, band in enumerate(BANDS))
    draw(
        lab.pictures / "yap.png",
        "YapScore: median characters above the answer alone (mean of the seeds)",
        ("", "characters"),
        lines,
        [f"set xtics ({labels})", "set xrange [-0.3:2.3]"],
    )
    heads = ["policy", "accuracy", *NUMBERS, *(band_name(band).replace("_", " ") for band in BANDS), "intervals of the index, by seed"]
    here = "index " + ", ".join(f"{row[0]} {row[2]}" for row in rows)
    return here, "\n\n".join(
        [
            f"Seeds {', '.join(str(seed) for seed, _ in starts)}; 1,000 test prompts x 4 answers. The minimal sufficient answer is "
            "the answer with its mark (`#7.`, 3 characters); a task is a band of difficulty.",
            table(heads, rows),
            "![YapScore by difficulty](images/papers/yap.png)",
        ]
    )


def number(found, key):
    """Mean over the seeds that have it: without a right answer there is none of right answers."""
    values = [one["lengths"][key]["value"] for one in found if key in one["lengths"]]
    return f"{mean(values):.1f}" if values else "undefined"


def band_name(band):
    return f"{band[0]}_to_{band[1]}_terms"


def prompts_of(lab):
    """The test prompts with their minimal answer, their band as the task."""
    path = lab.out / "yap_test.jsonl"
    if not path.exists():
        rows = [json.loads(line) for line in lab.test_prompts().open()]
        for row in rows:
            band = next(b for b in BANDS if b[0] <= row["difficulty"] <= b[1])
            row |= {"baseline": f"#{row['answer']}.", "task": band_name(band)}
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
