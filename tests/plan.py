"""`vernier plan` against a run: the memory that it says is that which the run holds, within 10 %.

    python3 tests/plan.py BUILD_FOLDER [NAME ...]

Standard library only.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "build/release"

# Six million weights and 6,000 tokens a step in three micro-batches: hundreds of MB beside the program. The end token
# is never drawn, so that every response has the length that a plan assumes.
JOB = """
[run]
steps = 3
[model.new]
characters = "0123456789abcdefgh+=#.?~"
end_token = "."
hidden_size = 256
intermediate_size = 704
num_hidden_layers = 8
num_attention_heads = 8
num_key_value_heads = 4
head_dim = 32
max_position_embeddings = 256
[data]
task = "chain_sum"
[rollout]
num_generations = 12
prompts_per_step = 8
max_completion_length = 60
logit_bias = { "END" = -100 }
[[reward]]
type = "accuracy"
[trainer]
max_tokens_per_microbatch = 2500
"""
# 3 thoughts, 3 budgets, 2 answers at each.
BRPO = """
think_end = "#"
[[reward]]
type = "brpo"
budgets = [20, 40, 60]
siblings = 2
exit_text = "#"
exit_tokens = 20
[algo]
type = "grpo"
advantage = "naive"
"""
SMALL = ["trainer.precision=bf16", "rollout.weights=bf16", "trainer.activation_checkpointing=true",
         "trainer.optimizer=adamw_8bit"]


class Plan(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vernier-plan-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.job = self.folder / "job.toml"
        self.job.write_text(JOB.replace("END", str("0123456789abcdefgh+=#.?~".index("."))))

    def run_vernier(self, command, *arguments):
        return subprocess.run([BUILD / "vernier", command, self.job, *map(str, arguments)], capture_output=True,
                              text=True, timeout=300)

    def plan(self, *arguments):
        done = self.run_vernier("plan", "--json", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def hold_to_run(self, settings):
        overrides = [part for one in settings for part in ("--set", one)]
        planned = self.plan(*overrides)["memory"]["peak_bytes"]
        done = self.run_vernier("train", *overrides, "--run", self.folder / "run")
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [json.loads(line) for line in (self.folder / "run/metrics.jsonl").read_text().splitlines()]
        for phase, key in (("sampling", "memory/rollout_peak_mb"), ("learning", "memory/update_peak_mb")):
            measured = max(row[key] for row in rows if row["phase"] == "rl")
            said = planned[phase] / 2**20
            print(f"{phase}: {said:.0f} MB said, {measured:.0f} held ({' '.join(settings) or 'as it is'})", file=sys.stderr)
            with self.subTest(phase=phase):
                self.assertLess(abs(said / measured - 1), 0.10)

    def test_a_plan_starts_no_program(self):
        mark = self.folder / "started"
        command = json.dumps(["sh", "-c", f"touch {mark}; cat"])
        self.job.write_text(self.job.read_text() + f'[[reward]]\ntype = "program"\ncommand = {command}\n')
        self.plan()
        self.assertFalse(mark.exists())

    @unittest.skipIf(BUILD.name != "release", "a sanitizer has memory of its own")
    def test_memory_is_that_of_the_run(self):
        self.hold_to_run([])

    @unittest.skipIf(BUILD.name != "release", "a sanitizer has memory of its own")
    def test_memory_is_that_of_the_run_with_all_that_saves_some(self):
        self.hold_to_run(SMALL)

    @unittest.skipIf(BUILD.name != "release", "a sanitizer has memory of its own")
    def test_memory_holds_the_start_policy_that_a_reward_asks(self):
        self.job.write_text(self.job.read_text() + '[[reward]]\ntype = "o1_pruner"\nreference_generations = 12\n')
        self.hold_to_run([])

    @unittest.skipIf(BUILD.name != "release", "a sanitizer has memory of its own")
    def test_memory_holds_what_goes_on_from_a_thought(self):
        text = self.job.read_text().replace('[[reward]]\ntype = "accuracy"\n', BRPO)
        letters = "0123456789abcdefgh+=#.?~"  # no thought ends before its budget
        bias = ", ".join(f'"{letters.index(one)}" = -100' for one in ".#")
        self.job.write_text(re.sub("logit_bias = .*", f"logit_bias = {{ {bias} }}", text))
        self.hold_to_run(["rollout.num_generations=3"])

    @unittest.skipIf(BUILD.name != "release", "a sanitizer has memory of its own")
    def test_memory_is_that_of_two_ranks(self):
        for shard in ("none", "optimizer", "full"):
            keys = [part for one in ("run.threads=1", f"trainer.shard={shard}") for part in ("--set", one)]
            found = self.plan(*keys, "--cluster", "gpus=2,local=1")["memory"]
            self.assertEqual([rank["name"] for rank in found["ranks"]], ["draws and trains"])
            done = self.run_vernier("train", *keys, "--run", self.folder / shard, "--nproc", 2)
            self.assertEqual(done.returncode, 0, done.stderr)
            rows = [json.loads(line) for line in (self.folder / shard / "metrics.jsonl").read_text().splitlines()]
            measured = max(row["memory/update_peak_mb"] for row in rows if row["phase"] == "rl")
            said = found["ranks"][0]["peak_bytes"]["learning"] / 2**20
            print(f"{shard}: {said:.0f} MB said of a rank, {measured:.0f} held", file=sys.stderr)
            with self.subTest(shard=shard):
                self.assertLess(abs(said / measured - 1), 0.10)

    def test_memory_of_gpus(self):
        far = ["--cluster", "nodes=1,gpus=8,device=h100", "--set", "run.device=cuda", "--set", "rollout.kv_cache_gb=0.5",
               "--set", "rollout.logit_bias={}", "--set", "trainer.precision=bf16", "--set", "rollout.weights=bf16"]
        whole = self.plan(*far)
        self.assertTrue(whole["memory"]["fits"])
        self.assertEqual(whole["memory"]["given_bytes"], 80e9)
        kinds = {kind["kind"]: kind["learning_bytes"] for kind in whole["memory"]["ranks"][0]["kinds"]}
        self.assertEqual(kinds["weights"], 2 * kinds["weights in bf16"])
        self.assertEqual(kinds["moments of AdamW"], 2 * kinds["weights"])
        peak = max(whole["memory"]["ranks"][0]["peak_bytes"].values())
        self.assertEqual(whole["setups"][0]["peak_bytes"], peak)
        self.assertEqual([setup["name"] for setup in whole["setups"]][2], "disaggregated")
        less = self.plan(*far, "--memory", (peak - 1000) / 1e9)["memory"]
        self.assertFalse(less["fits"])
        self.assertEqual(less["together"][0]["keys"], "trainer.shard=optimizer")
        text = self.run_vernier("plan", *far, "--memory", (peak - 1000) / 1e9).stdout
        self.assertIn("a rank that draws and trains, of 8; of a GPU, the first row is assumed", text)
        self.assertIn("--set trainer.shard=optimizer", text)
        apart = self.plan(*far, "--set", "rollout.mode=disaggregated", "--set", "rollout.ranks=3")["memory"]
        self.assertEqual([(rank["name"], rank["training"], rank["drawing"]) for rank in apart["ranks"]],
                         [("trains", 5, 3), ("only samples", 5, 3)])
        self.assertEqual(self.run_vernier("plan", *far[2:], "--cluster", "gpus=8").returncode, 2)

    def test_what_to_change(self):
        whole = self.plan()
        self.assertTrue(whole["memory"]["fits"])
        self.assertNotIn("changes", whole)
        self.assertEqual(whole["largest_microbatch"], whole["update_tokens"])
        needed = max(whole["memory"]["peak_bytes"].values())
        less = self.plan("--memory", 0.8 * needed / 1e9)
        self.assertFalse(less["memory"]["fits"])
        costs = [change["step_s"] for change in less["changes"]]
        self.assertEqual(costs, sorted(costs))
        self.assertLess(less["together"][-1]["peak_bytes"], 0.8 * needed)
        keys = [part for change in less["together"] for one in change["keys"].split() for part in ("--set", one)]
        self.assertTrue(self.plan("--memory", 0.8 * needed / 1e9, *keys)["memory"]["fits"])
        text = self.run_vernier("plan", "--memory", 0.8 * needed / 1e9).stdout
        self.assertIn("it does not fit", text)
        self.assertIn(less["together"][0]["keys"], text)

    def test_cluster(self):
        run = self.folder / "run"
        one = ["--set", "run.threads=1"]
        done = self.run_vernier("train", "--run", run, *one, "--set", "log.rollouts.every=1", "--set", "run.steps=1")
        self.assertEqual(done.returncode, 0, done.stderr)
        for processes in (1, 2):
            found = self.plan(*one, "--cluster", f"nodes=1,gpus={processes}", "--lengths", run)
            self.assertEqual(found["measured_processes"], processes)
            self.assertNotIn("extrapolation", found["label"])
            self.assertEqual(found["mean_length"], 60)
            self.assertEqual(found["trained_tokens"], 8 * 12 * 60)
            names = ["colocated", "colocated, ahead"] + ["disaggregated", "disaggregated, ahead"] * (processes - 1)
            self.assertEqual([setup["name"] for setup in found["setups"]], names)
            for setup in found["setups"]:
                self.assertGreater(setup["step_s"], setup["update_s"] * 0.99)
                self.assertLess(setup["bubble"], 1)
        far = self.plan("--cluster", "nodes=4,gpus=8,link=50,device=h100,price=3", "--mean-length", 40, "--reward-s", 2)
        self.assertIn("extrapolation", far["label"])
        self.assertGreater(far["setups"][0]["step_s"], 2)
        self.assertAlmostEqual(far["setups"][0]["cost_per_million_tokens"],
                               3 * far["setups"][0]["rank_hours_per_million_tokens"])
        self.assertIn("extrapolation", self.run_vernier("plan", "--cluster", "nodes=2,gpus=1,link=1", *one).stdout)

    def test_mistakes(self):
        for arguments in (["--mean-length", 61], ["--memory", 0], ["--set", "trainer.precision=fp8"],
                          ["--cluster", "nodes=2"], ["--cluster", "gpus=0"], ["--cluster", "speed=9"], ["--lengths", "runs"],
                          ["--cluster", "gpus=1", "--lengths", self.folder], ["--cluster", "gpus=1", "--set", "run.steps=0"]):
            self.assertEqual(self.run_vernier("plan", *arguments).returncode, 2, arguments)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
