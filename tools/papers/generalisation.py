"""Study 6: length generalisation: train on short inputs, test on longer ones, with one thing switched at a time."""

import json
import re
from typing import NamedTuple

from papers.study import draw, last_checkpoint, mean, table

CLAIM = "whole chains carry over to longer inputs, and so do models without positions and hints"
PAPER = "TAIL, addition, S/M/L: 97/92.5/86.5 with its chain, 57/34.5/24 with index hints; no positions best of five (arXiv:2305.19466)"

JOB = "configs/papers/generalisation.toml"
CHAIN = "data.parity.chain"
VARIANTS = {
    "whole chain, RoPE": {},
    "no linear transition": {f"{CHAIN}.linear": "false"},
    "no atomic state": {f"{CHAIN}.atomic": "false"},
    "no memory fetcher": {f"{CHAIN}.input": "false"},
    "no positions": {"model.new.positions": "none"},
    "ALiBi": {"model.new.positions": "alibi"},
    "absolute positions": {"model.new.positions": "absolute"},
    "index hints": {"data.parity.index_hints": "true"},
}
TWO_BITS_A_STATE = ("no linear transition", "no atomic state")
TIERS, SEEDS = "SML", 2
PROMPTS, LONGEST = 300, 1200  # of each variant, over the tiers; tokens of an answer


def run(lab):
    seeds = range(1, min(lab.num_seeds, SEEDS) + 1)
    jobs = [(v, seed) for v in VARIANTS for seed in seeds]

    def one(job):
        variant, seed = job
        folder = lab.out / "generalisation" / f"{variant}-{seed}".replace(" ", "-").replace(",", "")
        checkpoint = last_checkpoint(lab.train(folder, [JOB], {"run.seed": seed, **VARIANTS[variant]}))
        hints = {k: v for k, v in VARIANTS[variant].items() if k.endswith("index_hints")}
        prompts = lab.prompts(
            "parity_hints" if hints else "parity", {"data.eval_seed": 4321, **hints}, PROMPTS, task="parity"
        )
        path = lab.rows(checkpoint, prompts, 1, ("--greedy", "--max-completion-length", LONGEST))
        answers = {}
        for row in map(json.loads, path.open()):
            answers.setdefault(row["tier"], []).append(answer_of(row, variant))
        return answers

    found = dict(zip(jobs, lab.each(one, jobs)))
    rows, lines, chains = [], {}, []
    for variant in VARIANTS:
        cells = []
        for tier in TIERS:
            by_seed = [mean(a.right for a in found[variant, seed][tier]) for seed in seeds]
            cells.append(mean(by_seed))
            lines.setdefault(variant, []).append((TIERS.index(tier), mean(by_seed)))
        ratio = cells[2] / cells[0] if cells[0] else 0.0
        each = "; ".join(
            " ".join(f"{mean(a.right for a in found[variant, seed][tier]):.2f}" for tier in TIERS) for seed in seeds
        )
        tokens = mean(a.tokens for seed in seeds for tier in TIERS for a in found[variant, seed][tier])
        of_tier = [[a for seed in seeds for a in found[variant, seed][tier]] for tier in TIERS]
        chains.append(
            [
                variant,
                *(
                    f"{mean(a.states for a in some):.2f} / {mean(a.in_order for a in some):.1f} / {100 * mean(a.marked for a in some):.0f} %"
                    for some in of_tier
                ),
            ]
        )
        rows.append([variant, *(f"{cell:.3f}" for cell in cells), f"{ratio:.2f}", f"{cells[0] - cells[2]:+.3f}", f"{tokens:.0f}", each])
    draw(
        lab.pictures / "generalisation.png",
        "Parity: accuracy by tier, trained on S (mean of the seeds)",
        ("", "accuracy"),
        lines,
        ["set xtics ('S: 2 to 15 bits' 0, 'M: 16 to 30' 1, 'L: 31 to 60' 2)", "set xrange [-0.2:2.2]", "set yrange [0:1.05]"],
    )
    here = "S, M, L: " + "; ".join(f"{row[0]} {row[1]}, {row[2]}, {row[3]}" for row in rows) + "; guessing 0.5"
    return here, "\n\n".join(
        [
            f"Seeds {', '.join(map(str, seeds))}; {PROMPTS} test prompts ({', '.join(f'{tier}: {len(found[jobs[0]][tier])}' for tier in TIERS)}), greedy. Guessing is right in half of them.",
            table(["", "S", "M", "L", "L over S", "S less L", "tokens", "S M L by seed"], rows),
            "![Accuracy by tier](images/papers/generalisation.png)",
            table(["states over those that a chain should have / labels in order from 1 on / answers with a mark", *TIERS], chains),
        ]
    )


class Answer(NamedTuple):
    right: bool
    tokens: int
    states: float  # of the chain, over those that it should have
    in_order: int  # labels that count 1, 2, ... from the first on; without linear transition there are none
    marked: bool  # has an answer


def answer_of(row, variant):
    needed = -(-row["length"] // 2) if variant in TWO_BITS_A_STATE else row["length"]
    text = row["response"]
    labels = [int(label) for label in re.findall(r"(?:^|;)(\d+):", text)]
    in_order = next((i for i, label in enumerate(labels) if label != i + 1), len(labels))
    return Answer(bool(row["correct"]), row["num_tokens"], text.count(";") / needed, in_order, "#" in text)
