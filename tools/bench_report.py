"""How long the report of a long run takes, and how soon its page is there.

    python3 tools/bench_report.py [--steps 10000] [--vernier build/release/vernier] [--keep FOLDER]

Makes a run folder of 10,000 steps with 100 responses of about 300 tokens each: metrics, the index of every step's
rollouts, the rollouts themselves of every hundredth step, an evaluation of 400 prompts by 4 every 500 steps. Then times
`vernier report` with the most memory it held, and in headless Chromium from when the page is asked for until it is open, with its tables
and its first chart, and until the last chart is drawn. Needs Debian's zstd, chromium and chromium-driver.
"""

import argparse
import json
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADER = "length\tcorrect\treward\tgroup\toffset\tfinish_reason\n"
CONFIG = """
[run]
seed = 1
[data]
task = "chain_sum"
[rollout]
num_generations = 10
prompts_per_step = 10
max_completion_length = 1024
[[reward]]
type = "length_penalty"
form = "subtract"
alpha = 1
reference_length = 1000
[algo]
type = "grpo"
"""


def responses(rng, step, steps, prompts, each):
    """Groups of (length, right): lengths fall over the run, and a middle length is right most often."""
    middle = 400 - 200 * step / steps
    for group in range(prompts):
        hard = rng.random()
        yield group, hard, [(length, rng.random() < 0.9 - 0.5 * hard - abs(length - 300) / 2000)
                            for length in (min(1024, max(1, int(rng.lognormvariate(0, 0.4) * middle * (0.7 + 0.6 * hard))))
                                           for _ in range(each))]


def row_of(step, group, sample, length, right, hard):
    return {"id": f"p{group}-{sample}", "group": group, "sample": sample, "step": step, "problem": f"p{group}", "task": "chain_sum",
            "difficulty": round(hard * 10), "prompt": "a3b8c5=", "response": "word " * length, "answer": "7", "verify": "",
            "finish_reason": "stop", "num_tokens": length, "raw_num_tokens": length, "think": [0, length], "answer_span": [0, length],
            "first_correct": length if right else None, "correct": right, "sampled_correct": right, "versions": [[step - 1, length]],
            "rewards": {"length_penalty": right - length / 1000}, "reward": right - length / 1000, "advantage": 0.1, "transforms": [],
            "masked": False}


def make_run(folder, steps):
    rng = random.Random(1)
    for name in ("rollouts", "eval"):
        (folder / name).mkdir(parents=True)
    (folder / "config.toml").write_text(CONFIG)
    with (folder / "metrics.jsonl").open("w") as metrics:
        for step in range(steps + 1):
            if step % 500 == 0:
                rows, index, right, lengths = [], [HEADER], [], []
                prompt_rng = random.Random(2)
                for group in range(400):
                    hard = prompt_rng.random()
                    for sample in range(4):
                        length = max(1, int(rng.lognormvariate(0, 0.4) * (400 - 200 * step / steps) * (0.7 + 0.6 * hard)))
                        is_right = rng.random() < 0.9 - 0.5 * hard
                        rows.append(json.dumps(row_of(step, group, sample, length, is_right, hard)))
                        index.append(f"{length}\t{int(is_right)}\t-\t{group}\t0\tstop\n")
                        right.append(is_right)
                        lengths.append(length)
                (folder / f"eval/step_{step}.jsonl").write_text("\n".join(rows) + "\n")
                (folder / f"eval/step_{step}.idx").write_text("".join(index))
                metrics.write(json.dumps({"step": step, "phase": "eval", "eval/accuracy": statistics.fmean(right),
                                          "eval/mean_length": statistics.fmean(lengths)}) + "\n")
            if step == 0:
                continue
            index, rows, all_lengths, all_right = [HEADER], [], [], []
            for group, hard, found in responses(rng, step, steps, 10, 10):
                for sample, (length, right) in enumerate(found):
                    index.append(f"{length}\t{int(right)}\t{right - length / 1000}\t{group}\t0\tstop\n")
                    all_lengths.append(length)
                    all_right.append(right)
                    if step % 100 == 0:
                        rows.append(json.dumps(row_of(step, group, sample, length, right, hard)))
            (folder / f"rollouts/step_{step}.idx").write_text("".join(index))
            if rows:
                subprocess.run(["zstd", "-q", "-o", folder / f"rollouts/step_{step}.jsonl.zst"], input=("\n".join(rows) + "\n").encode(),
                               check=True)
            mean = statistics.fmean(all_lengths)
            row = {"step": step, "phase": "rl", "accuracy": statistics.fmean(all_right), "completions/mean_length": mean,
                   "length/correct/mean": mean, "time/step": mean / 100, "time/rollout": mean / 150, "time/score": 0.01,
                   "time/credit": 0.01, "time/update": mean / 400}
            row |= {f"other/metric_{k}": rng.random() for k in range(100)}
            metrics.write(json.dumps(row) + "\n")


def page_seconds(page):
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import Browser
    browser = Browser()
    try:
        opened, drawn = [], []
        for _ in range(5):
            browser.open("about:blank")
            browser.open(page)
            opened.append(browser.run("return performance.getEntriesByType('navigation')[0].loadEventEnd / 1000;"))
            browser.wait_for_charts()
            drawn.append(browser.run("return performance.now() / 1000;"))
            assert browser.run("return document.getElementById('timings').data.length;") > 0
        return opened, drawn
    finally:
        browser.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--vernier", default=str(ROOT / "build/release/vernier"))
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the run and its page, instead of one that is removed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or pathlib.Path(scratch)
        run = folder / "run"
        if not run.exists():
            make_run(run, options.steps)
        page = folder / "report.html"
        begin = time.monotonic()
        subprocess.run([options.vernier, "report", run, "--out", page], check=True)
        seconds = time.monotonic() - begin
        megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"report: {seconds:.1f} s, at most {megabytes:.0f} MB, page of {page.stat().st_size / 1e6:.1f} MB")
        for what, found in zip(("page open, with its first chart", "all charts"), page_seconds(page.as_uri())):
            print(f"{what}: median {statistics.median(found):.2f} s ({min(found):.2f} to {max(found):.2f})")


if __name__ == "__main__":
    main()
