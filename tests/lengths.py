"""The length laboratory as a user runs it: budgets, forced ends of thinking, evaluations that are left, comparisons.

    python3 tests/lengths.py BUILD_FOLDER [NAME ...]

Standard library only.
"""

import json
import os
import pathlib
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "build/release"
VERNIER = BUILD / "vernier"
SMOKE = ROOT / "configs/smoke.toml"


def run(*arguments, timeout=600):
    return subprocess.run([str(VERNIER), *map(str, arguments)], capture_output=True, text=True, timeout=timeout, cwd=ROOT)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().split("\n") if line]


class Case(unittest.TestCase):
    models = None

    @classmethod
    def setUpClass(cls):
        """A start policy and what a few steps make of it."""
        if Case.models is None:
            folder = pathlib.Path(tempfile.mkdtemp(prefix="vernier-lengths-"))
            unittest.addModuleCleanup(shutil.rmtree, folder, ignore_errors=True)
            done = run("train", SMOKE, "--run", folder)
            assert done.returncode == 0, done.stderr[-3000:]
            Case.models = folder / "checkpoint-0", folder / "checkpoint-12"
        cls.start, cls.trained = Case.models

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vernier-lengths-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def json_of(self, *arguments):
        done = run(*arguments, "--json")
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        return json.loads(done.stdout)

    def assert_refused(self, text, *arguments):
        done = run(*arguments)
        self.assertEqual(done.returncode, 2, done.stdout[-500:] + done.stderr[-2000:])
        self.assertIn(text, done.stderr)

    def write_rows(self, name, rows):
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path


class Budgets(Case):
    def draw(self, model, *more):
        return self.json_of("eval", "--model", model, "--task", "chain_sum", "--n", 3, "--limit", 40, "--seed", 5, *more)

    def assert_same(self, one, other):
        one, other = ({k: v for k, v in found.items() if k != "budget"} for found in (one, other))
        for key in one:
            self.assertEqual(one[key], other[key], key)

    def test_a_sweep_is_the_separate_runs(self):
        for model in (self.start, self.trained):
            swept = self.draw(model, "--budgets", "6,12,24,48")
            accuracies = [row["accuracy"] for row in swept["budgets"]]
            self.assertEqual(accuracies, sorted(accuracies))  # of this task: who answers is done
            self.assertLess(accuracies[0], accuracies[-1])
            for row in swept["budgets"]:
                self.assert_same(row, self.draw(model, "--max-completion-length", row["budget"])["budgets"][0])

    def test_a_forced_end_is_the_separate_run(self):
        for model in (self.start, self.trained):
            swept = self.draw(model, "--budgets", "2,8,20", "--think-end", "#", "--answer-tokens", 4)
            self.assertEqual(swept["answer_tokens"], 4)
            for row in swept["forced"]:
                alone = self.draw(model, "--think-end", "#", "--thinking-budget", row["budget"],
                                  "--max-completion-length", row["budget"] + 4)
                self.assert_same(row, alone["budgets"][0])
            # Who has to answer answers, which a cut does not let them.
            self.assertGreater(swept["forced"][0]["lengths"]["thinking/share"]["value"], 0)
            self.assertLess(swept["forced"][1]["clipped_ratio"], swept["budgets"][1]["clipped_ratio"])
        self.assert_refused("--answer-tokens: needs --think-end", "eval", "--model", self.start, "--task", "chain_sum",
                            "--budgets", "8", "--answer-tokens", "4")
        self.assert_refused("--answer-tokens: needs --budgets", "eval", "--model", self.start, "--task", "chain_sum",
                            "--think-end", "#", "--answer-tokens", "4")

    def test_one_that_was_left_goes_on(self):
        out = self.folder / "rows.jsonl"
        command = ["eval", "--model", self.start, "--task", "chain_sum", "--n", 4, "--limit", 3000, "--threads", 1,
                   "--max-running", 8, "--out", out, "--budgets", "10,60"]
        whole, rows = self.json_of(*command), out.read_bytes()
        self.assertFalse((self.folder / "rows.jsonl.part").exists())
        out.unlink()
        for how, code in ((signal.SIGTERM, 75), (signal.SIGKILL, -9)):
            process = subprocess.Popen([str(VERNIER), *map(str, command)], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, cwd=ROOT)
            part = self.folder / "rows.jsonl.part/rows.jsonl"
            before = part.stat().st_size if part.exists() else 0
            deadline = time.monotonic() + 60
            while not (part.exists() and part.stat().st_size > before) and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(how)
            self.assertEqual(process.wait(timeout=60), code)
            self.assertFalse(out.exists())
        self.assertTrue((self.folder / "rows.jsonl.part/rows.jsonl").exists())
        self.assert_refused("was begun with seed = 1, not 2", *command, "--seed", "2")
        done = run(*command, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"goes on with [1-9]\d* prompts")
        self.assertEqual(json.loads(done.stdout), whole)
        self.assertEqual(out.read_bytes(), rows)

    def test_stored_responses_are_evaluated_without_a_model(self):
        out = self.folder / "rows.jsonl"
        drawn = self.draw(self.start, "--budgets", "8,60", "--out", out)
        stored = self.json_of("eval", "--rollouts", out)
        for key in stored:
            if key != "budgets":
                self.assertEqual(stored[key], drawn[key], key)
        self.assertIsNone(stored["budgets"][0]["budget"])
        cut = self.json_of("eval", "--rollouts", out, "--model", self.start, "--budgets", "8,60")
        self.assertEqual(cut["budgets"], drawn["budgets"])
        self.assert_refused("--budgets: of --rollouts need --model", "eval", "--rollouts", out, "--budgets", "8")
        self.assert_refused("--task: is given beside --rollouts", "eval", "--rollouts", out, "--task", "chain_sum")
        self.assert_refused("neither --model nor --rollouts", "eval", "--task", "chain_sum")
        # Rows of another engine have texts and lengths alone.
        bare = self.write_rows("bare.jsonl", [{"group": 0, "num_tokens": 7, "response": "so 4", "correct": True},
                                              {"group": 0, "num_tokens": 9, "response": "so 5", "correct": False}])
        found = self.json_of("eval", "--rollouts", bare)
        self.assertEqual((found["accuracy"], found["mean_length"], found["pass_at_n"]), (0.5, 8, 1))
        # Which answers they are is not known: nothing votes, and none is premature.
        self.assertIsNone(found["majority_at_n"])
        self.assertIsNone(found["filtered_vote"]["majority"])
        self.assertNotIn("overthinking/premature", found["lengths"])
        cut = self.write_rows("cut.jsonl", [{"group": 0, "num_tokens": 7, "raw_num_tokens": 9, "response": "so 4", "correct": True}])
        self.assert_refused("a transform of the trainer cut it from 9 tokens to 7", "eval", "--rollouts", cut)
        self.assertEqual(run("eval", "--rollouts", bare, "--verify", "math").returncode, 2)
        self.assert_refused("without its ids nothing can be cut", "eval", "--rollouts", bare, "--model", self.start, "--budgets", "8")


class Comparisons(Case):
    def test_two_models_are_their_rows(self):
        drawing = ["--task", "chain_sum", "--n", 4, "--limit", 60, "--seed", 9]
        paths = []
        for name, model in (("a", self.start), ("b", self.trained)):
            paths.append(self.folder / f"{name}.jsonl")
            self.assertEqual(run("generate", "--model", model, *drawing, "--out", paths[-1]).returncode, 0)
        models = self.json_of("compare", self.start, self.trained, *drawing)
        stored = self.json_of("compare", *paths)
        for key in stored["pairs"][0]:
            if key not in ("first", "second"):
                self.assertEqual(models["pairs"][0][key], stored["pairs"][0][key], key)
        sides = [{}, {}]
        for side, path in zip(sides, paths):
            for row in lines_of(path):
                side.setdefault(row["problem"], []).append(row)
        pair = stored["pairs"][0]
        self.assertEqual(pair["num_prompts"], 60)

        def mean_of(side, problem, key):
            return statistics.fmean(row[key] for row in side[problem])

        for key, name in (("correct", "accuracy_difference"), ("num_tokens", "length_difference")):
            differences = [mean_of(sides[1], p, key) - mean_of(sides[0], p, key) for p in sides[0]]
            self.assertAlmostEqual(pair[name], statistics.fmean(differences), places=12)
            self.assertLessEqual(pair[name + "_low"], pair[name])
            self.assertLessEqual(pair[name], pair[name + "_high"])
        self.assertAlmostEqual(pair["win"], 0.5 + pair["accuracy_difference"] / 2, places=12)
        text = run("compare", *paths).stdout
        self.assertIn("60 shared prompts", text)
        self.assertIn("at equal lengths", text)
        swapped = self.json_of("compare", *reversed(paths))["pairs"][0]
        self.assertAlmostEqual(swapped["win_length_controlled"] + pair["win_length_controlled"], 1, places=9)
        self.assertEqual(swapped["accuracy_p"], pair["accuracy_p"])

    def test_a_run_is_its_last_evaluation(self):
        folder = self.start.parent
        found = self.json_of("compare", folder, folder / "eval/step_12.jsonl")
        self.assertEqual(found["sides"][0]["accuracy"], found["sides"][1]["accuracy"])
        self.assertEqual(found["pairs"][0]["win"], 0.5)
        self.assertEqual(found["pairs"][0]["win_length_controlled"], 0.5)

    def test_what_is_refused(self):
        rows = self.write_rows("a.jsonl", [{"group": 0, "problem": "p", "num_tokens": 7, "correct": True}])
        self.assert_refused("--gap: is of three sides", "compare", rows, rows, "--gap")
        self.assert_refused("--task: is for models", "compare", rows, rows, "--task", "chain_sum")
        self.assert_refused("--after: is of texts", "compare", rows, rows, "--after", "x")
        self.assert_refused("nowhere: is not there", "compare", rows, "nowhere")
        self.assertEqual(run("compare", rows).returncode, 2)


class Suites(Case):
    def data(self, name, seed):
        digits = [[(seed * 7 + i * 3 + j * j) % 10 for j in range(2 + i % 2)] for i in range(15)]
        return self.write_rows(name, [{"question": "".join(f"{chr(97 + j)}{d}" for j, d in enumerate(row)) + "=",
                                       "answer": str(sum(row) % 10)} for row in digits])

    def test_several_data_sets(self):
        suite = self.folder / "suite.toml"
        suite.write_text('[sampling]\nn = 4\ntemperature = 0.8\ntop_p = 0.95\nmax_completion_length = 40\n'
                         '[[dataset]]\nname = "One & two"\npath = "one.jsonl"\nverify = "final_digit"\n'
                         '[[dataset]]\nname = "Three"\npath = "three.jsonl"\nverify = "final_digit"\n')
        command = ["--suite", suite, "--data-dir", self.folder]
        self.assert_refused("Three: ", "eval", "--model", self.start, *command)
        files = self.data("one.jsonl", 1), self.data("three.jsonl", 4)
        start = self.json_of("eval", "--model", self.start, *command)
        reference = self.folder / "start.json"
        reference.write_text(json.dumps(start))
        found = self.json_of("eval", "--model", self.trained, *command, "--reference", reference, "--out",
                             self.folder / "rows")
        self.assertEqual([row["name"] for row in found["datasets"]], ["One & two", "Three", "mean"])
        for row, file in zip(found["datasets"], files):
            alone = self.json_of("eval", "--model", self.trained, "--data", file, "--verify", "final_digit", "--n", 4,
                                 "--temperature", "0.8", "--top-p", "0.95", "--max-completion-length", 40)
            for key in ("accuracy", "accuracy_low", "mean_length", "pass_at_n", "num_samples"):
                self.assertEqual(row[key], alone[key], key)
            self.assertEqual(len(lines_of(self.folder / "rows" / f"{row['name']}.jsonl")), 60)
        self.assertEqual(sorted(path.suffix for path in (self.folder / "rows").iterdir()), [".jsonl", ".jsonl"])
        for key in ("accuracy", "mean_length"):
            self.assertAlmostEqual(found["datasets"][2][key], statistics.fmean(row[key] for row in found["datasets"][:2]))
        self.assertIsNone(found["datasets"][2]["pass_at_n"])
        for new, old in zip(found["datasets"], start["datasets"]):
            better = new["accuracy"] / old["accuracy"] - 1
            self.assertAlmostEqual(new["aes"], 1 - new["mean_length"] / old["mean_length"] + (3 if better >= 0 else 10) * better)
        tables = {form: run("eval", "--model", self.trained, *command, "--format", form, "--reference", reference).stdout
                  for form in ("text", "markdown", "latex")}
        self.assertEqual(tables["markdown"].count("\n"), 5)
        self.assertIn("| One & two | 15 | 60 |", tables["markdown"])
        self.assertIn("One \\& two & 15 & 60 &", tables["latex"])
        self.assertTrue(tables["latex"].endswith("\\hline\n\\end{tabular}\n"))
        self.assertIn("accuracy [%]", tables["text"])
        self.assertEqual(run("eval", "--model", self.start, *command, "--n", "2").returncode, 2)
        suite.write_text(suite.read_text().replace("max_completion", "max_completions"))
        done = run("eval", "--model", self.start, *command)
        self.assertEqual(done.returncode, 2)
        self.assertIn("max_completions_length", done.stderr)

    def test_those_of_the_papers_are_read(self):
        for path in sorted((ROOT / "configs/eval").glob("*.toml")):
            self.assert_refused("aime24.jsonl is not there", "eval", "--model", self.start, "--suite", path, "--data-dir",
                                self.folder)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def fields_of(message):
    """A protobuf message as [(field, value)]: numbers, or bytes."""
    out, at = [], 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        kind = key & 7
        if kind == 0:
            value = varint()
        elif kind == 2:
            size = varint()
            value, at = message[at : at + size], at + size
        else:
            form, size = {1: ("<d", 8), 5: ("<f", 4)}[kind]
            value, at = struct.unpack(form, message[at : at + size])[0], at + size
        out.append((key >> 3, value))
    return out


def events_of(folder):
    """Events of a folder as TensorBoard reads them: (step, tag, field, value), less what a restart made void."""
    kept = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, at, first = path.read_bytes(), 0, True
        while at < len(data):
            size, check = struct.unpack("<QI", data[at : at + 12])
            event = data[at + 12 : at + 12 + size]
            assert check == masked(data[at : at + 8])
            assert struct.unpack("<I", data[at + 12 + size : at + 16 + size])[0] == masked(event)
            at += 16 + size
            fields = dict(fields_of(event))
            if first:
                assert fields[3] == b"brain.Event:2"
            first = False
            step = fields.get(2, 0)
            if 7 in fields:
                kept = [one for one in kept if one[0] < step]
            for number, value in fields_of(fields.get(5, b"")):
                assert number == 1
                one = dict(fields_of(value))
                what = next(field for field in (2, 5, 8) if field in one)
                kept.append((step, one[1].decode(), what, one[what]))
    return kept


class Boards(Case):
    SHORT = ["--set", "sft.steps=30", "--set", "log.tensorboard=true", "--set", "run.eval_every=2", "--set", "data.eval_prompts=20"]

    def test_event_files_hold_the_metrics(self):
        folder = self.folder / "run"
        for steps in (2, 4):  # the second goes on from the first
            done = run("train", SMOKE, "--run", folder, *self.SHORT, "--set", f"run.steps={steps}")
            self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        found = {phase: events_of(folder / "tensorboard" / phase) for phase in ("sft", "rl")}
        self.assertEqual(len(list((folder / "tensorboard/rl").iterdir())), 2)
        scalars = {phase: {(step, tag): value for step, tag, what, value in events if what == 2}
                   for phase, events in found.items()}
        wanted = {"sft": {}, "rl": {}}
        for row in lines_of(folder / "metrics.jsonl"):
            for key, value in row.items():
                if key != "step" and isinstance(value, (int, float)):
                    wanted["sft" if row["phase"] == "sft" else "rl"][row["step"], key] = struct.unpack("<f", struct.pack("<f", value))[0]
        self.assertEqual(scalars, wanted)
        self.assertGreater(len(wanted["rl"]), 200)
        # Lengths of a step: as many as were sampled, with their mean.
        rows = {row["step"]: row for row in lines_of(folder / "metrics.jsonl") if row["phase"] == "rl"}
        for step, tag, what, value in found["rl"]:
            if what == 5 and tag == "lengths/all":
                histogram = dict(fields_of(value))
                self.assertEqual(histogram[3], rows[step]["samples/issued"])
                self.assertAlmostEqual(histogram[4] / histogram[3], rows[step]["completions/mean_length"], places=3)
                self.assertEqual((histogram[1], histogram[2]),
                                 (rows[step]["completions/min_length"], rows[step]["completions/max_length"]))
                counts = struct.unpack("<30d", histogram[7])
                self.assertEqual(sum(counts), histogram[3])
                limits = struct.unpack("<30d", histogram[6])
                self.assertEqual(list(limits), sorted(limits))
        texts = [dict(fields_of(value))[8].decode() for _, tag, what, value in found["rl"] if tag == "samples/wrong"]
        self.assertEqual(len(texts), 3)
        self.assertIn("response of ", texts[0])

    def test_names_of_verl_and_the_sidecar(self):
        folder = self.folder / "run"
        done = run("train", SMOKE, "--run", folder, *self.SHORT, "--set", "run.steps=1", "--set", "log.metric_names=verl")
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        tags = {tag for _, tag, _, _ in events_of(folder / "tensorboard/rl")}
        self.assertLessEqual({"response_length/mean", "actor/grad_norm", "timing_s/step", "length/correct/mean"}, tags)
        self.assertNotIn("completions/mean_length", tags)
        done = run("train", SMOKE, "--run", self.folder / "no", "--set", "log.metric_names=verl")
        self.assertEqual(done.returncode, 2)
        self.assertIn("metric_names", done.stderr)
        # A tracker that writes down what it gets.
        (self.folder / "trackio.py").write_text(
            "import json, pathlib\nFILE = pathlib.Path(__file__).with_suffix('.jsonl')\n"
            "def init(**more):\n    log({'init': more})\ndef finish():\n    pass\n"
            "def log(values):\n    with FILE.open('a') as file:\n        file.write(json.dumps(values) + '\\n')\n")
        command = [sys.executable, str(ROOT / "tools/sidecar.py"), str(folder), "--to", "trackio", "--once", "--metric-names",
                   "verl", "--vernier", str(VERNIER)]
        environment = {**os.environ, "PYTHONPATH": str(self.folder)}
        for steps in (1, 2):
            self.assertEqual(subprocess.run(command, env=environment).returncode, 0)
            sent = lines_of(self.folder / "trackio.jsonl")
            logged = [one for one in sent if "init" not in one]
            self.assertEqual(len(logged), len(lines_of(folder / "metrics.jsonl")))
            done = run("train", SMOKE, "--run", folder, *self.SHORT, "--set", "run.steps=2")
            self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        rows = lines_of(folder / "metrics.jsonl")
        self.assertEqual(sent[0]["init"], {"project": "vernier", "name": "run", "resume": "allow"})
        self.assertEqual([one.get("rl/step") for one in logged], [None if row["phase"] == "sft" else row["step"] for row in rows])
        self.assertEqual(logged[-1].get("eval/accuracy"), rows[-1].get("eval/accuracy"))
        self.assertIn("sft/loss", logged[0])
        steps = [one for one in logged if "response_length/mean" in one]
        self.assertEqual([one["response_length/mean"] for one in steps],
                         [row["completions/mean_length"] for row in rows if row["phase"] == "rl"])


class Rewards(Case):
    def score(self, rewards, rows):
        config = self.folder / "score.toml"
        config.write_text("[rollout]\n" + rewards)
        path = self.write_rows("rows.jsonl", [{"group": 0, "sample": i, "answer": "7", "verify": "last_integer", **row}
                                              for i, row in enumerate(rows)])
        done = run("score", config, "--rollouts", path, "--out", "-")
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.split("\n") if line]

    def test_against_overthinking(self):
        names = ("after_correct", "recheck", "thinking_share", "answered")
        rows = self.score("".join(f'[[reward]]\ntype = "{name}"\n' for name in names), [
            {"response": "7. Wait. Hmm, 7", "num_tokens": 8, "first_correct": 2, "think": [0, 6], "answer_span": [7, 8]},
            {"response": "alternatively 8", "num_tokens": 4, "think": [0, 4], "answer_span": [4, 4]},
            {"response": "awaiting", "num_tokens": 4},
            {"response": "so 7", "num_tokens": 4}])
        self.assertEqual(rows[0]["rewards"], {"after_correct": 0.25, "recheck": -0.2, "thinking_share": 0.25, "answered": 1})
        self.assertEqual(rows[1]["rewards"], {"after_correct": 0, "recheck": -0.1, "thinking_share": 0, "answered": 1})
        self.assertEqual(rows[2]["rewards"], {"after_correct": 0, "recheck": 0, "answered": 0})
        self.assertIn("thinking is not marked", rows[2]["abstained"]["thinking_share"])
        self.assertIn("first_correct", rows[3]["abstained"]["after_correct"])

    def test_best_of_k_by_a_reward(self):
        rows = self.score('[[reward]]\ntype = "recheck"\n[[reward]]\ntype = "accuracy"\n', [
            {"response": "wait, 7", "num_tokens": 4}, {"response": "8", "num_tokens": 4}])
        path = self.write_rows("scored.jsonl", rows)
        best = self.json_of("eval", "--rollouts", path)["choices"][-1]["best_by_reward"]
        self.assertEqual({name: one["accuracy"] for name, one in best.items()}, {"recheck": 0, "accuracy": 1, "reward": 1})


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
