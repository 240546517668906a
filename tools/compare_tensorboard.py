"""Whether TensorBoard itself reads what a run wrote, and the same numbers.

    python3 -m venv board-venv
    board-venv/bin/pip install tensorboard==2.21.0
    board-venv/bin/python tools/compare_tensorboard.py runs/mine      # log.tensorboard = true, metric_names = "trl"

Compares every scalar with metrics.jsonl, as float32, and prints what else it found.
"""

import json
import pathlib
import struct
import sys

import tensorboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def single(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def main():
    folder = pathlib.Path(sys.argv[1])
    wanted = {"sft": {}, "rl": {}}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        for key, value in row.items():
            if key != "step" and isinstance(value, (int, float)):
                wanted["sft" if row["phase"] == "sft" else "rl"][key, row["step"]] = single(value)
    print("tensorboard", tensorboard.__version__)
    failed = False
    for phase in ("sft", "rl"):
        if not wanted[phase]:
            continue
        events = EventAccumulator(str(folder / "tensorboard" / phase), size_guidance={"scalars": 0, "histograms": 0, "tensors": 0})
        events.Reload()
        tags = events.Tags()
        found = {(tag, one.step): one.value for tag in tags["scalars"] for one in events.Scalars(tag)}
        missing = wanted[phase].keys() - found.keys()
        wrong = [key for key, value in found.items() if wanted[phase].get(key) != value]
        print(f"{phase}: {len(found)} scalars, {len(missing)} missing, {len(wrong)} wrong; histograms {tags['histograms']}, "
              f"tensors {tags['tensors']}")
        failed = failed or missing or wrong
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
