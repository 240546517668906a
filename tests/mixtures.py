"""Jobs on mixtures of prompts: curricula follow what is measured, and a resumed job, or one of two ranks, asks for the same.

    python3 tests/mixtures.py BUILD_FOLDER [NAME ...]
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "build/release"
CONFIG = """
[run]
seed = 3
steps = 6
eval_every = 3
save_every = 1
keep_checkpoints = 10
threads = 1
deterministic = true

[model.new]
characters = "0123456789abcdefghijklmnopqrstuvwxyz+=#.,:;[]{}<>|?"
end_token = "."
max_position_embeddings = 256

[sft]
steps = 30
batch_sequences = 16
loss_divisor = 480

[rollout]
num_generations = 4
prompts_per_step = 8
max_completion_length = 40

[[reward]]
type = "accuracy"

[log.rollouts]
every = 1

[data]
eval_prompts = 20

[[data.source]]
name = "easy"
task = "count"
[data.source.count]
lengths = [2, 2]
direct_share = 1.0

[[data.source]]
name = "sums"
task = "summation"
weight = 2
[data.source.summation]
lengths = [2, 3]

[[data.source]]
name = "file"
train = "{rows}"
eval = "{rows}"
train_difficulty = [0, 0.5]
difficulty_unit = "share"
"""
CURRICULA = {
    "pass_rate": '\n[data.curriculum]\nmode = "pass_rate"\ndecay = 0.5\n',
    "unlock": '\n[data.curriculum]\nmode = "unlock"\nthreshold = 0.0\n',
}


class Mixtures(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vernier-mixtures-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        rows = [{"prompt": f"{i}=", "answer": str(i), "difficulty": i} for i in range(10)]
        (self.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def train(self, name, curriculum, *more, fails=False):
        config = self.folder / f"{curriculum}.toml"
        config.write_text(CONFIG.replace("{rows}", str(self.folder / "rows.jsonl")) + CURRICULA[curriculum])
        done = subprocess.run([BUILD / "vernier", "train", config, "--run", self.folder / name, *more], capture_output=True, text=True,
                              timeout=600)
        self.assertEqual(done.returncode, 2 if fails else 0, done.stderr[-3000:])
        return done.stderr if fails else self.folder / name

    def metrics(self, run):
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [{key: value for key, value in row.items() if not key.startswith(("time/", "perf/", "memory/"))}
                for row in rows if row["phase"] == "rl"]

    def test_a_resumed_job_asks_for_the_same(self):
        for curriculum in CURRICULA:
            whole = self.train(f"{curriculum}-whole", curriculum)
            self.train(f"{curriculum}-parts", curriculum, "--set", "run.steps=2")
            parts = self.train(f"{curriculum}-parts", curriculum)
            self.assertEqual(self.metrics(whole), self.metrics(parts))

    def test_two_ranks_ask_for_what_one_does(self):
        one = self.metrics(self.train("one", "pass_rate"))
        two = self.metrics(self.train("two", "pass_rate", "--nproc", "2"))
        for a, b in zip(one, two, strict=True):
            for key, value in a.items():
                if key.startswith("data/") or key in ("accuracy", "completions/mean_length", "reward"):
                    self.assertEqual(value, b[key], key)

    def test_what_metrics_and_evaluations_say(self):
        run = self.train("run", "unlock")
        rows = self.metrics(run)
        self.assertEqual(rows[0]["data/easy/prompts"], 8)  # alone at first
        self.assertEqual(rows[0]["data/sums/share"], 2 / 3)  # it joins after one step
        self.assertEqual(rows[1]["data/file/share"], 1 / 4)
        for k, row in enumerate(rows):
            self.assertEqual(sum(row[f"data/{name}/prompts"] for name in ("easy", "sums", "file")), 8 * (k + 1))
            self.assertEqual(row["data/file/epochs"], row["data/file/prompts"] / 5)
        answers = [json.loads(line) for line in (run / "eval/step_0.jsonl").read_text().splitlines()]
        sources = [row["problem"].split("/")[0] for row in answers]
        self.assertEqual({name: sources.count(name) for name in sources}, {"easy": 5, "sums": 10, "file": 5})
        self.assertEqual(len({row["problem"] for row in answers}), 20)

    def test_what_does_not_go_together(self):
        self.assertIn("curriculum: needs steps that draw their own prompts",
                      self.train("no", "unlock", "--set", "rollout.max_staleness=1", fails=True))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
