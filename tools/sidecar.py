"""Sends the metrics of a run to Weights & Biases or to trackio, beside it, after it, or both.

    pip install wandb                      # or trackio
    python3 tools/sidecar.py runs/mine --to wandb --project lengths
    python3 tools/sidecar.py runs/mine --to trackio --project lengths --once

It follows metrics.jsonl, which the run appends to, and needs nothing of the run: it may start late, die and start
again (what it has sent is in RUN/sidecar.TO.json), and the run goes on without it. Of a run that was resumed the
steps that it does again are not sent again. Numbers that are not defined are left out. --once ends at the end of the
file; without it Ctrl-C does. --metric-names verl takes verl's names where there are such (it asks --vernier for
them).
"""

import argparse
import importlib
import json
import pathlib
import subprocess
import sys
import time


def rows_of(path, offset):
    """The whole rows from a byte on, each with the byte behind it."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield json.loads(line), offset


def names_of(options):
    if options.metric_names == "trl":
        return {}
    out = subprocess.run([options.vernier, "reference", "metrics", "--json"], check=True, capture_output=True, text=True)
    return {row["name"]: row["verl"] for row in json.loads(out.stdout)["metrics"] if "verl" in row}


def values_of(row, names):
    """What is sent of a row: its numbers, and its step under a name of its phase."""
    phase = "sft" if row["phase"] == "sft" else "rl"
    prefix = "sft/" if phase == "sft" else ""
    numbers = {name: value for name, value in row.items()
               if name != "step" and isinstance(value, (int, float)) and not isinstance(value, bool)}
    return {f"{phase}/step": row["step"], **{prefix + names.get(name, name): value for name, value in numbers.items()}}


class State:
    """What was sent: the last step of each kind of row, and how far the file was read."""

    def __init__(self, path):
        self.path = path
        self.last = json.loads(path.read_text()) if path.exists() else {}

    def is_new(self, row):
        return row["step"] > self.last.get(row["phase"], -1)

    def sent(self, row):
        self.last[row["phase"]] = row["step"]
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.last))
        part.replace(self.path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--to", choices=("wandb", "trackio"), required=True)
    parser.add_argument("--project", default="vernier")
    parser.add_argument("--name", help="of the run there; that of its folder by default")
    parser.add_argument("--metric-names", choices=("trl", "verl"), default="trl")
    parser.add_argument("--vernier", default="build/release/vernier")
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--every", type=float, default=2, help="seconds between looks")
    options = parser.parse_args()
    metrics = options.run / "metrics.jsonl"
    if not options.run.is_dir():
        sys.exit(f"{options.run}: is not the folder of a run")
    try:
        board = importlib.import_module(options.to)
    except ImportError:
        sys.exit(f"the Python package {options.to} is not installed")
    names, state = names_of(options), State(options.run / f"sidecar.{options.to}.json")
    name = options.name or options.run.resolve().name
    more = {"id": name} if options.to == "wandb" else {}
    board.init(project=options.project, name=name, resume="allow", **more)
    if options.to == "wandb":
        board.define_metric("*", step_metric="rl/step")
        board.define_metric("sft/*", step_metric="sft/step")
    offset, file_id = 0, None
    try:
        while True:
            if metrics.exists():
                found = metrics.stat()
                if found.st_ino != file_id or found.st_size < offset:  # a resumed run wrote it anew
                    offset, file_id = 0, found.st_ino
                for row, offset in rows_of(metrics, offset):
                    if not state.is_new(row):
                        continue
                    board.log(values_of(row, names))
                    state.sent(row)
            if options.once:
                break
            time.sleep(options.every)
    except KeyboardInterrupt:
        pass
    board.finish()


if __name__ == "__main__":
    main()
