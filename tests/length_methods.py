"""Every configuration in configs/length trains 30 steps on a tiny model, and its ledger, the stored
rollouts, shows that the method's sampling plan happened; scoring the ledger again gives the same numbers.

    python3 tests/length_methods.py BUILD_FOLDER [NAME ...]

Standard library only.
"""

import json
import math
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

from stored_rows import rows_of, unpacked

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "build/release"
VERNIER = BUILD / "vernier"
CONFIGS = sorted((ROOT / "configs/length").glob("*.toml"))
STEPS, PROMPTS = 30, 4
# Smaller than the files say, so that all of them take a minute or two.
SMALL = ["run.eval_every=0", f"rollout.prompts_per_step={PROMPTS}"]


def run(*arguments, timeout=600):
    return subprocess.run([str(VERNIER), *map(str, arguments)], capture_output=True, text=True,
                          timeout=timeout, cwd=ROOT)


def settings(name, *more):
    task = "task = " in (ROOT / f"configs/length/{name}.toml").read_text()
    sums = ["data.chain_sum.max_terms=3"] if task else []
    return [part for value in (*SMALL, *sums, *more) for part in ("--set", value)]


class Ledger:
    """What a run stored: rows by step, groups of those that are trained on, metrics by step."""

    def __init__(self, folder):
        self.folder = folder
        self.metrics = {row["step"]: row for row in rows_of((folder / "metrics.jsonl").read_text())
                        if row["phase"] == "rl"}
        self.steps = {step: rows_of(unpacked(folder / f"rollouts/step_{step}.jsonl.zst"))
                      for step in range(1, STEPS + 1)}

    def rows(self, role=None):
        return [row for rows in self.steps.values() for row in rows if row.get("role") == role]

    def groups(self, step):
        out = {}
        for row in self.steps[step]:
            if "role" not in row:
                out.setdefault(row["group"], []).append(row)
        return list(out.values())

    def all_groups(self):
        return [group for step in self.steps for group in self.groups(step)]

    def memory(self):
        return json.loads((self.folder / f"checkpoint-{STEPS}/trainer/state.json").read_text())["rewards"]


class Methods(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="vernier-length-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        done = run("train", "configs/smoke.toml", "--set", "run.steps=0", "--set", "run.eval_every=0",
                   "--run", cls.folder / "start")
        assert done.returncode == 0, done.stderr[-2000:]

    def ledger(self, name, *more):
        folder = self.folder / name
        if not folder.exists():
            done = run("train", f"configs/length/{name}.toml", "--set",
                       f"model.path={self.folder}/start/checkpoint-0", *settings(name, *more), "--run", folder)
            self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        return Ledger(folder)

    def multiplier(self, name, start, follow):
        """The lambda of a step's metrics is what the steps before have led to."""
        ledger, value = self.ledger(name), start
        for step in range(1, STEPS + 1):
            self.assertAlmostEqual(ledger.metrics[step][f"rewards/{name}/lambda"], value, places=12)
            rows = [row for row in ledger.steps[step] if row["correct"] is not None]
            value = follow(value, sum(row["num_tokens"] for row in rows) / len(rows),
                           sum(row["correct"] for row in rows) / len(rows))
        self.assertAlmostEqual(ledger.memory()[name]["numbers"]["lambda"], value, places=12)

    def test_a_dlp(self):
        self.multiplier("a_dlp", 2e-3, lambda value, _, accuracy: max(0.0, value + 1e-3 * (accuracy - 0.6)))

    def test_leash(self):
        self.multiplier("leash", 0.2,
                        lambda value, length, _: min(max(value + 0.05 * (length / 40 - 1), 0.0), 1.0))

    def test_laconic(self):
        self.multiplier("laconic", 0.0,
                        lambda value, length, _: min(max(value + 0.01 * (length / 40 - 1), 0.0), 10.0))

    def monitored(self, name):
        ledger = self.ledger(name)
        for step, rows in ledger.steps.items():
            monitor = [row for row in rows if row.get("role") == "monitor"]
            self.assertEqual(len(monitor), 24 * 8 if step in (1, 11, 21) else 0)
            self.assertTrue(all(row["reward"] is None for row in monitor))
        again = [[row["prompt"] for row in ledger.steps[step] if row.get("role")] for step in (1, 11)]
        self.assertEqual(*again)
        self.assertEqual(len({row["group"] for row in ledger.steps[1]}), 24 + PROMPTS)
        # The target of a level is the least of the grid that covers enough of its lengths.
        grid = [120 * part // 16 for part in range(1, 17)]
        groups, longest = {}, 0
        for row in ledger.steps[21]:
            if row.get("role"):
                groups.setdefault(row["group"], []).append(row)
                longest = max(longest, row["num_tokens"])
        lengths = {"low": [], "medium": [], "high": []}
        for group in groups.values():
            rate = sum(row["correct"] for row in group) / len(group)
            level = "high" if rate >= 2 / 3 else "medium" if rate >= 1 / 3 else "low"
            lengths[level] += [row["num_tokens"] for row in group]
        for level, slots in (("low", 1), ("medium", 2), ("high", 5)):
            wanted = next((t for t in grid if lengths[level] and math.floor(
                sum(one <= t for one in lengths[level]) / len(lengths[level]) * slots) >= 1), longest)
            self.assertEqual(ledger.metrics[21][f"rewards/{name}/target_{level}"], wanted)
        return ledger

    def test_laser_d(self):
        self.monitored("laser_d")

    def test_laser_de(self):
        ledger = self.monitored("laser_de")
        paid = [row for row in ledger.rows() if row["correct"] is False and row["reward"] == 0.0]
        self.assertGreater(len(paid), 0)
        for row in paid:
            targets = [ledger.metrics[row["step"]][f"rewards/laser_de/target_{level}"]
                       for level in ("low", "medium", "high")]
            self.assertGreater(row["num_tokens"], min(targets))

    def referenced(self, name, generations):
        """Every prompt has its reference responses before it is trained on, and once."""
        ledger, seen = self.ledger(name), {}
        for step in ledger.steps:
            for row in ledger.steps[step]:
                if row.get("role") == "reference":
                    seen[row["problem"]] = seen.get(row["problem"], 0) + 1
                    self.assertEqual(row["versions"][0][0], 0)  # of the start policy
                else:
                    self.assertEqual(seen[row["problem"]], generations)
        known = ledger.memory()[name]["prompts"]["reference_accuracy"]
        self.assertEqual(set(known), set(seen))
        return ledger

    def test_o1_pruner(self):
        self.referenced("o1_pruner", 4)

    def test_adaptthink(self):
        ledger = self.referenced("adaptthink", 8)
        for group in ledger.all_groups():
            forced = [row["response"].startswith("#") and "forced_text" in row["flags"] for row in group]
            self.assertEqual(forced, [True] * 4 + [False] * 4)
            for row in group:
                self.assertEqual(row["assumed"], [0])
                self.assertAlmostEqual(row["logprobs"][0], math.log(0.5), places=6)
                self.assertEqual(row["forced"], [])
                none = row["response"].startswith("#")
                known = ledger.memory()["adaptthink"]["prompts"]["reference_accuracy"][row["problem"]]
                self.assertAlmostEqual(row["reward"], row["correct"] - known + 0.05 * none, places=12)
                self.assertEqual(row["advantage"], row["reward"])

    def test_brpo(self):
        ledger = self.ledger("brpo")
        for group in ledger.all_groups():
            self.assertEqual(len(group), 3 * 4 * 2)
            for place, row in enumerate(group):
                thought, exit, cut = row["branch"]
                self.assertEqual([thought, exit], [place // 8, place // 2 % 4])
                self.assertLessEqual(cut, [16, 32, 64, 96][exit])
                self.assertEqual(row["response"][cut], "#")
                learned = place % 8 == 6
                self.assertEqual(row["forced"], [cut] if learned else list(range(cut + 1)))
                full = group[thought * 8 + 6]
                self.assertEqual(row["response_ids"][:cut], full["response_ids"][:cut])
                self.assertEqual(len(row["token_bonus"]), row["num_tokens"])
                siblings = [one["correct"] for one in group if one["branch"] == row["branch"]]
                answer = row["reward"] + row["token_bonus"][-1]
                self.assertAlmostEqual(answer, row["correct"] - sum(siblings) / 2, places=6)

    def test_s_grpo(self):
        ledger = self.ledger("s_grpo")
        for group in ledger.all_groups():
            full, right = group[-1], 0
            cuts = [row["branch"][2] for row in group]
            self.assertEqual(cuts, sorted(cuts))
            self.assertEqual([row["branch"][1] for row in group], list(range(8)))
            for row in group:
                if row is not full:
                    cut = row["branch"][2]
                    self.assertEqual(row["response_ids"][:cut], full["response_ids"][:cut])
                    self.assertEqual(row["forced"], [cut])
                    self.assertEqual(row["response"][cut], "#")
                right += row["correct"]
                self.assertEqual(row["reward"], 2.0 ** (1 - right) if row["correct"] else 0.0)

    def test_thinkprune(self):
        ledger = self.ledger("thinkprune")
        for step, rows in ledger.steps.items():
            limit = 120 if step < 11 else 90 if step < 21 else 60
            self.assertLessEqual(max(row["num_tokens"] for row in rows), limit)
            for row in rows:
                ended = row["finish_reason"] == "stop"
                self.assertEqual(row["reward"], float(row["correct"] and ended))

    def test_dler(self):
        for group in self.ledger("dler").all_groups():
            self.assertLessEqual(max(row["num_tokens"] for row in group), 60)
            flat = len({row["reward"] for row in group}) == 1
            self.assertEqual(group[0]["dropped"] == "flat", flat)

    def test_concise_rl(self):
        ledger = self.ledger("concise_rl")
        for group in ledger.all_groups():
            outside = sum(row["correct"] for row in group) in (0, len(group))
            self.assertEqual(group[0]["dropped"] == "outside", outside)
        self.assertTrue(any(row["filter/generation_batches"] > 1 for row in ledger.metrics.values()))

    def test_gfpo(self):
        for group in self.ledger("gfpo").all_groups():
            kept = sorted(group, key=lambda row: row["num_tokens"])[:8]
            out = [row for row in group if row.get("left_out")]
            self.assertEqual(len(out), 8)
            self.assertGreaterEqual(min(row["num_tokens"] for row in out), kept[-1]["num_tokens"])
            self.assertTrue(all(row["advantage"] == 0 for row in out))

    def asked(self, name):
        ledger = self.ledger(name)
        for row in ledger.rows():
            mark = "~" if row["target_length"] < 0 else "?"
            self.assertTrue(row["prompt"].endswith(f"{mark}{abs(row['target_length'])}"), row["prompt"])
            self.assertTrue(10 <= abs(row["target_length"]) <= 80)
        self.assertGreater(len({row["target_length"] for row in ledger.rows()}), 20)
        return ledger

    def test_l1_exact(self):
        for row in self.asked("l1_exact").rows():
            off = abs(row["target_length"] - row["num_tokens"])
            self.assertAlmostEqual(row["reward"], row["correct"] - 0.01 * off, places=12)

    def test_l1_max(self):
        ledger = self.asked("l1_max")
        signs = {row["target_length"] > 0 for row in ledger.rows()}
        self.assertEqual(signs, {True, False})
        for row in ledger.rows():
            left = abs(row["target_length"]) - row["num_tokens"]
            most = row["correct"] * min(max(0.01 * left + 0.5, 0.0), 1.0)
            exact = row["correct"] - 0.01 * abs(left)
            self.assertAlmostEqual(row["reward"], most if row["target_length"] < 0 else exact, places=12)

    def test_length_interval(self):
        for row in self.asked("length_interval").rows():
            low, high = 0.8 * row["target_length"], 1.2 * row["target_length"]
            length = row["num_tokens"]
            score = (max(0.0, 2 * length / low - 1) if length < low else
                     max(0.0, 3 - 2 * length / high) if length > high else 1.0)
            self.assertAlmostEqual(row["reward"], 1 + 0.5 * score if row["correct"] else 0.0, places=12)

    def history(self, name, key):
        """A prompt's number is the least right length of the steps before, and the rewards show it."""
        ledger, known, shaped = self.ledger(name), {}, 0
        for rows in ledger.steps.values():
            for row in rows:
                if row["problem"] not in known:
                    self.assertEqual(row["reward"], float(row["correct"]))
                shaped += row["reward"] not in (0.0, 1.0)
            for row in rows:
                if row["correct"]:
                    known[row["problem"]] = min(known.get(row["problem"], 1 << 30), row["num_tokens"])
        self.assertEqual(ledger.memory()[name]["prompts"][key], known)
        self.assertGreater(shaped, 100)

    def test_hapo(self):
        self.history("hapo", "h")

    def test_length_excess(self):
        self.history("length_excess", "shortest")

    def test_kimi(self):
        for row in self.ledger("kimi").rows():
            weight = min(max((row["step"] - 5) / 10, 0.0), 1.0)
            self.assertAlmostEqual(row["reward_weights"].get("kimi", 1.0), weight, places=12)

    def test_lc_r1(self):
        seen = 0
        for row in self.ledger("lc_r1").rows():
            if row["response"].count("#") != 1 or not row["correct"] or row["response"].startswith("#"):
                continue
            seen += 1
            place = row["response"].index("#")
            wanted = [0.0] * row["num_tokens"]
            wanted[place] = -0.1  # the answer is never right inside the thinking of this task
            self.assertEqual([round(value, 6) for value in row["token_bonus"]], wanted)
        self.assertGreater(seen, 50)

    def test_diet(self):
        ledger = self.ledger("diet")
        for step in (1, 11, 21):  # the cycle's weight is 0: advantages of correctness alone
            for group in ledger.groups(step):
                for row in group:
                    same = [one["advantage"] for one in group if one["correct"] == row["correct"]]
                    self.assertLess(max(same) - min(same), 1e-12)

    def test_autothink(self):
        ledger = self.ledger("autothink")
        for step in ledger.steps:
            rows = [row for row in ledger.steps[step] if "#" in row["response"]]
            thinks = {row["id"]: not row["response"].startswith("#") for row in rows}
            share = sum(thinks.values()) / len(thinks)
            for row in rows:
                base, held = (row["correct"], row["correct"] - 1)
                if not thinks[row["id"]]:
                    base, held = (2, 1) if row["correct"] else (-1, -2)
                q = share if thinks[row["id"]] else 1 - share
                a = min(max(2 * (q - 0.5), 0.0), 1.0)
                self.assertAlmostEqual(row["reward"], (1 - a) * base + a * held, places=12)


    def test_interrupted(self):
        """A signal in the middle of a step, and the run goes on as if nothing had been: memories too."""
        for name in ("adaptthink", "laser_d", "hapo", "autothink"):
            arguments = ["train", f"configs/length/{name}.toml", "--set",
                         f"model.path={self.folder}/start/checkpoint-0", *settings(name)]
            folder, undisturbed = self.folder / f"{name}-interrupted", self.ledger(name)
            stopped = 0
            for wanted in (4, 11, 19):
                process = subprocess.Popen([str(VERNIER), *arguments, "--run", str(folder)], cwd=ROOT,
                                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                metrics = folder / "metrics.jsonl"
                while process.poll() is None and (not metrics.exists() or
                                                  metrics.read_bytes().count(b"\n") < wanted):
                    pass
                process.send_signal(signal.SIGTERM)
                code = process.wait()
                self.assertIn(code, (0, 75))
                stopped += code == 75
            self.assertGreater(stopped, 0, name)
            self.assertEqual(run(*arguments, "--run", folder).returncode, 0)
            self.assertEqual(Ledger(folder).memory(), undisturbed.memory())

            def rows(ledger):
                return [{key: value for key, value in row.items() if not key.startswith(("time/", "perf/", "memory/"))}
                        for row in ledger.metrics.values()]

            self.assertEqual(rows(Ledger(folder)), rows(undisturbed))
            weights = [(one / f"checkpoint-{STEPS}/model.safetensors").read_bytes()
                       for one in (folder, undisturbed.folder)]
            self.assertEqual(*weights)

    def test_compare(self):
        ledger = self.ledger("cosine")

        def compare(first, second):
            done = run("score", f"configs/length/{first}.toml", "--compare", f"configs/length/{second}.toml",
                       "--rollouts", ledger.folder / "rollouts", "--json")
            self.assertEqual(done.returncode, 0, done.stderr[-2000:])
            self.assertIn("us each", done.stderr)
            return json.loads(done.stdout)

        same, turned = compare("cosine", "cosine"), compare("shorter_better", "cosine")
        other = compare("cosine", "shorter_better")
        rows = ledger.rows()
        self.assertEqual(same["responses"], len(rows))
        self.assertEqual([same["different"], same["opposite"]], [0, 0])
        self.assertAlmostEqual(same["advantage_correlation"], 1.0, places=9)
        self.assertAlmostEqual(same["reward"][0], sum(row["reward"] for row in rows) / len(rows), places=9)
        right = [row for row in rows if row["correct"]]
        self.assertAlmostEqual(same["right_pushed_down"][0],
                               sum(row["advantage"] < 0 for row in right) / len(right), places=9)
        self.assertGreater(other["different"], 0.9)
        for key in ("reward", "right_pushed_down", "length_push"):
            self.assertEqual(other[key], turned[key][::-1])
        self.assertLess(other["length_push"][1], other["length_push"][0])  # the one that shortens more


def scored_again(config):
    """A test that `vernier score` gives back the ledger of a configuration, bit for bit."""

    def test(self):
        ledger = self.ledger(config.stem)
        self.assertEqual(len(ledger.metrics), STEPS)
        out = self.folder / f"{config.stem}.jsonl"
        # A KL in the reward needs the model; what is stored of rloo's advantages has it.
        alone = config.stem == "arora"
        done = run("score", config, "--rollouts", ledger.folder / "rollouts", "--out", out,
                   *settings(config.stem, *(["algo.beta=0"] if alone else [])))
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        again = rows_of(out.read_text())
        stored = [row for step in ledger.steps for row in ledger.steps[step]]
        self.assertEqual(len(again), len(stored))
        for one, other in zip(again, stored):
            for key in one.keys() | other.keys():
                if key == "advantage" and alone:
                    continue
                self.assertEqual(one.get(key), other.get(key), (key, other["id"], other["step"]))

    return test


class Reference(unittest.TestCase):
    # What has to be given. Rewards from outside have tests of their own.
    NEEDED = {"a_dlp": {"reference_accuracy": 0.6}, "brpo": {"budgets": [16, 32]}, "column": {"key": '"score"'},
              "gfpo": {"k": 1}, "laconic": {"budget": 40}, "laser": {"target": 40}, "leash": {"target": 40},
              "length_excess": {"scale": 10}}
    OUTSIDE = ("library", "program", "url")

    def mistakes(self, entries):
        row = {"group": 0, "num_tokens": 9, "response": "a", "correct": True, "score": 1}
        with tempfile.TemporaryDirectory(prefix="vernier-reference-") as folder:
            config, rows = pathlib.Path(folder, "c.toml"), pathlib.Path(folder, "rows.jsonl")
            rows.write_text("".join(json.dumps({**row, "sample": i}) + "\n" for i in range(2)))
            config.write_text("[rollout]\nmax_completion_length = 64\n" + "".join(entries))
            done = run("score", config, "--rollouts", rows, "--out", pathlib.Path(folder, "out.jsonl"))
        return done.stderr.splitlines() if done.returncode else []

    def test_keys_with_a_default_can_be_left_out(self):
        """The keys that are printed as needed, and no others, have to be given, and the message names them."""
        found = json.loads(run("reference", "--json").stdout)
        # What each entry has beside: rewards that are only logged go with each other; there is no tokenizer here.
        for topic, kind, first, beside in (
                ("rewards", "reward", "", lambda name: "weight = 0\n"),
                ("transforms", "transform", '[[reward]]\ntype = "accuracy"\n',
                 lambda name: 'on_cut = "force_zero"\n' if name == "dot" else "")):
            bare, given, needed = [first], [first], []
            for entry in found[topic]:
                name, keys = entry["name"], entry["keys"]
                self.assertEqual([key["key"] for key in keys if key["needed"] and key["default"]], [], name)
                if name.startswith("[[") or name in self.OUTSIDE:
                    continue
                wanted = self.NEEDED.get(name, {})
                self.assertEqual([key["key"] for key in keys if key["needed"]], list(wanted), name)
                bare.append(f'[[{kind}]]\ntype = "{name}"\n{beside(name)}')
                given.append(bare[-1] + "".join(f"{key} = {value}\n" for key, value in wanted.items()))
                needed += [f"{kind}.{name}.{key}: " for key in wanted]
            self.assertEqual(self.mistakes(given), [])
            lines = self.mistakes(bare)
            self.assertEqual(len(lines), len(needed), lines)
            for place in needed:
                self.assertTrue(any(place in line for line in lines), (place, lines))
        self.assertRegex(run("reference", "rewards").stdout, r"reference_accuracy +\(needed\) ")


for one in CONFIGS:
    setattr(Methods, f"test_score_{one.stem}", scored_again(one))

if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=1)
