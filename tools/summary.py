"""Writes summary.json of a quickstart folder and prints its table.

    python3 tools/summary.py runs/quickstart
    python3 tools/summary.py --check-start runs/quickstart/start-9

Reads report.json (vernier report --json) and the metrics rows for the wall time. --check-start ends with 3
where the start policy has not learned to add: then there is nothing for the five runs to show.
"""

import json
import pathlib
import sys


def wall_seconds(run):
    rows = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    return sum(row.get("time/step", 0) + row.get("time/eval", 0) for row in rows)


def check_start(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    evaluations = [row["eval/accuracy"] for row in rows if row["phase"] == "eval"]
    if not evaluations:
        sys.exit(f"{folder}/metrics.jsonl has no evaluation; delete {folder} and start again")
    accuracy = evaluations[-1]
    if accuracy < 0.5:
        print(
            f"The start policy answers {accuracy:.0%} of the questions: with this seed the model did not learn to add "
            "within the warm start.",
            file=sys.stderr,
        )
        sys.exit(3)


def main(folder):
    report = json.loads((folder / "report.json").read_text())
    first = report["runs"][0]["start"]
    start = {key: first[key] for key in ("accuracy", "mean_length")}
    runs = [
        {
            "name": run["name"],
            "accuracy": run["accuracy"],
            "mean_length": run["mean_length"],
            "wall_s": round(wall_seconds(folder / run["name"]), 1),
        }
        for run in report["runs"]
    ]
    summary = {"start": start, "runs": runs}
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(f"\n{'run':10} {'accuracy':>9} {'95 % interval':>16} {'length':>8} {'95 % interval':>16} {'time':>7}")
    rows = [("start", report["runs"][0]["start"], None)]
    rows += [(run["name"], run, wall["wall_s"]) for run, wall in zip(report["runs"], runs)]
    for name, row, wall in rows:
        accuracy = f"[{row['accuracy_low']:.3f}, {row['accuracy_high']:.3f}]"
        length = f"[{row['mean_length_low']:.1f}, {row['mean_length_high']:.1f}]"
        time = "" if wall is None else f"{wall:.0f} s"
        print(f"{name:10} {row['accuracy']:9.3f} {accuracy:>16} {row['mean_length']:8.1f} {length:>16} {time:>7}")
    print("accuracy: share of right answers; length: mean tokens; 400 fixed prompts, 4 answers each")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--check-start":
        check_start(pathlib.Path(sys.argv[2]))
    elif len(sys.argv) == 2:
        main(pathlib.Path(sys.argv[1]))
    else:
        sys.exit(__doc__)
