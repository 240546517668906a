"""What the studies of papers share: start policies, runs, answers to test prompts, intervals, tables and pictures.

Test prompts are chain_sum's evaluation prompts under a seed of their own (4321). Strengths and steps are chosen by the
runs' own evaluations; docs/results.md says where a setting was changed after a look at test prompts. chain_sum has no split
by instance, and short sums are few: a warm start of 153,600 demonstrations has seen nearly all of up to four terms, a
quarter of those of five, and next to none from six on (UNSEEN).
"""

import json
import math
import pathlib
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor

from fresh_prompts import interval, last_step, mean

TEST_SEED, TEST_PROMPTS, ANSWERS = 4321, 1000, 4
UNSEEN = (6, 8)  # terms of sums that a warm start has next to never seen
LEARNED = 0.5  # accuracy of a start policy that has learned to add
MOST_SEEDS = 30


class Lab:
    """Runs `vernier`; what is finished is not run again. `quick`: a few steps and prompts, whose numbers mean nothing."""

    def __init__(self, vernier, out, jobs, seeds, pictures, quick=False):
        self.vernier, self.out, self.jobs, self.num_seeds = str(vernier), out, jobs, seeds
        self.pictures, self.quick = pictures, quick
        self.out.mkdir(parents=True, exist_ok=True)

    def call(self, arguments, log):
        with log.open("w") as file:
            code = subprocess.run([self.vernier, *map(str, arguments)], stderr=file, stdout=file, check=False).returncode
        if code != 0:
            sys.exit(f"{self.vernier} {' '.join(map(str, arguments))} ended with {code}; see {log}")

    def each(self, function, items):
        """[function(item)], some at a time."""
        with ThreadPoolExecutor(self.jobs) as pool:
            return list(pool.map(function, items))

    def train(self, folder, configs, keys):
        log = folder.with_name(folder.name + ".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["train", *configs, "--run", folder]
        if self.quick:
            keys = self.few_steps(configs[0]) | keys
        for key, value in keys.items():
            arguments += ["--set", f"{key}={value}"]
        self.call(arguments, log)
        return folder

    def few_steps(self, config):
        tables = tomllib.loads(pathlib.Path(config).read_text())
        keys = {"data.eval_prompts": 8}
        if "sft" in tables:
            keys |= {"sft.steps": 20}
        if tables["run"].get("steps"):
            keys |= {"run.steps": 2, "run.eval_every": 1}
        return keys

    def starts(self, config="configs/papers/start.toml", name="start", keys=None, learned=lambda run: accuracy_of(run) >= LEARNED):
        """The first seeds whose warm start has learned: [(seed, checkpoint)]."""
        found, seed = [], 1
        while len(found) < self.num_seeds:
            if seed > MOST_SEEDS:
                sys.exit(f"of {MOST_SEEDS} seeds of {config} only {len(found)} learned their task")
            some = range(seed, seed + self.jobs)
            runs = self.each(lambda s: self.train(self.out / f"{name}-{s}", [config], {"run.seed": s, **(keys or {})}), some)
            found += [(s, run / "checkpoint-0") for s, run in zip(some, runs) if self.quick or learned(run)]
            seed += self.jobs
        return found[: self.num_seeds]

    def prompts(self, name, keys, count=TEST_PROMPTS, task="chain_sum", train=False):
        """A file of prompts of a task."""
        path = self.out / f"{name}.jsonl"
        count = min(count, 24) if self.quick else count
        if not path.exists():
            arguments = ["prompts", "--task", task, "--count", count, "--out", path]
            for key, value in (keys if train else {"data.eval_prompts": count} | keys).items():
                arguments += ["--set", f"{key}={value}"]
            self.call(arguments + ([] if train else ["--eval"]), self.out / f"{name}.log")
            with path.open() as rows:
                found = sum(1 for _ in rows)
            if found != count:
                sys.exit(f"{path} has {found} prompts, not {count}")
        return path

    def test_prompts(self):
        return self.prompts("test", {"data.eval_seed": TEST_SEED})

    def unseen(self):
        """Places of the test prompts that a warm start has next to never seen."""
        terms = [json.loads(line)["difficulty"] for line in self.test_prompts().open()]
        return [i for i, n in enumerate(terms) if UNSEEN[0] <= n <= UNSEEN[1]]

    def rows(self, model, prompts, n=ANSWERS, options=()):
        """The stored answers of a model to a file of prompts, as rows."""
        tag = "-".join([prompts.stem, str(n), *[str(o).strip("-") for o in options]])
        path = pathlib.Path(model).parent / f"answers-{pathlib.Path(model).name}-{tag}.jsonl"
        if not path.exists():
            arguments = ["eval", "--model", model, "--data", prompts, "--n", n, "--seed", 77, "--threads", 1]
            if "--max-completion-length" not in options:
                arguments += ["--max-completion-length", 120]
            self.call([*arguments, *options, "--out", path], path.with_suffix(".log"))
        return path

    def answers(self, model, prompts=None, n=ANSWERS, options=()):
        """Of each prompt: share of right answers, mean tokens."""
        path = self.rows(model, prompts or self.test_prompts(), n, options)
        short = path.with_suffix(".json")
        if not short.exists():
            groups = {}
            for line in path.open():
                row = json.loads(line)
                groups.setdefault(row["group"], []).append((bool(row["correct"]), row["num_tokens"]))
            short.write_text(json.dumps([[mean(part) for part in zip(*groups[g])] for g in sorted(groups)]))
        return json.loads(short.read_text())

    def json_of(self, arguments):
        done = subprocess.run([self.vernier, *map(str, arguments), "--json"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{self.vernier} {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return json.loads(done.stdout)


def metrics_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def evaluations(run, key="eval/accuracy"):
    """[(step, value)]"""
    return [(row["step"], row[key]) for row in metrics_of(run) if row["phase"] == "eval"]


def accuracy_of(run):
    """Of its last evaluation."""
    return evaluations(run)[-1][1]


def last_checkpoint(run):
    return run / f"checkpoint-{last_step(run)}"


class Policy:
    """Answers of one setting, of several seeds: [seeds][prompts] of (share right, tokens)."""

    def __init__(self, answers):
        self.right = [[a for a, _ in seed] for seed in answers]
        self.tokens = [[t for _, t in seed] for seed in answers]

    def on(self, places):
        """The same of some prompts alone."""
        return Policy([[(right[i], tokens[i]) for i in places] for right, tokens in zip(self.right, self.tokens)])

    accuracy = property(lambda self: mean(map(mean, self.right)))
    length = property(lambda self: mean(map(mean, self.tokens)))

    def less(self, other, what="right"):
        """Mean difference to another setting on the same seeds and prompts, and its interval."""
        rows = [[a - b for a, b in zip(*pair)] for pair in zip(getattr(self, what), getattr(other, what))]
        return (mean(map(mean, rows)), *interval(rows))


def aes(policy, reference, gain=3, loss=10):
    """Accuracy efficiency score against another policy (docs/lengths.md); -inf where that is never right."""
    if reference.accuracy == 0:
        return -math.inf
    shorter = 1 - policy.length / reference.length
    change = policy.accuracy / reference.accuracy - 1
    return shorter + (gain if change >= 0 else loss) * change


def percent(part, whole):
    return f"{100 * part / whole:.0f} %" if whole else "undefined"


def signed(triple, places=3, scale=1.0):
    value, low, high = (scale * x for x in triple)
    return f"{value:+.{places}f} [{low:+.{places}f}, {high:+.{places}f}]"


def table(head, rows):
    """Markdown; cells are texts."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


# Okabe and Ito's, which people who see fewer colours tell apart.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B2A000"]


def draw(path, title, axes, series, options=(), size=(760, 520), lines_between=True):
    """A picture by gnuplot. series: {label: [(x, y)] or [(x, y, low, high)]}: points, with lines between them where what
    lies between is of the same kind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f"set terminal pngcairo size {size[0]},{size[1]} font 'DejaVu Sans,10'",
        f"set output '{path}'",
        f"set title '{title}' noenhanced",
        f"set xlabel '{axes[0]}' noenhanced",
        f"set ylabel '{axes[1]}' noenhanced",
        "set grid back lt 1 lw 0.6 lc rgb '#dddddd'",
        "set border 3",
        "set tics nomirror",
        "set key below center horizontal maxcols 3 noenhanced",
        *options,
    ]
    plots = []
    kind, size_of_points = ("linespoints", 0.8) if lines_between else ("points", 1.6)
    for number, (label, points) in enumerate(series.items()):
        lines += [f"$d{number} << EOD", *[" ".join(f"{x:.6g}" for x in point) for point in points], "EOD"]
        style = f"lw 1.8 lc rgb '{COLOURS[number % len(COLOURS)]}'"
        plots.append(f"$d{number} using 1:2 with {kind} {style} pt 7 ps {size_of_points} title '{label}'")
        if len(points[0]) == 4:
            plots.append(f"$d{number} using 1:2:3:4 with yerrorbars {style} pt 0 notitle")
    lines.append("plot " + ", ".join(plots))
    subprocess.run(["gnuplot"], input="\n".join(lines), text=True, check=True)


def write_section(path, name, body):
    """Puts `body` between the marks of a study in a Markdown file."""
    begin, end = f"<!-- tools/reproduce {name} -->", f"<!-- end of {name} -->"
    text = path.read_text()
    if begin not in text or end not in text:
        sys.exit(f"{path} has no section for {name}: the lines '{begin}' and '{end}'")
    head, rest = text.split(begin)
    path.write_text(head + begin + "\n" + body.strip() + "\n" + end + rest.split(end)[1])
