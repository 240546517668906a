"""Ranks of one machine that draw as one, and ranks on GPUs.

    python3 tests/rank_groups.py BUILD_FOLDER [NAME ...]

Standard library only.
"""

import json
import os
import signal
import subprocess
import sys
import unittest

from ranks import DRPO, ROOT, VERNIER, RankJobs, metrics_of, vernier, wait_for_step
from stored_rows import rows_of, unpacked


class DrawnAsOne(RankJobs):
    """rollout.tensor_parallel_size"""

    PLACED = {  # ranks that draw as one: ranks, those that only sample, trainer.shard
        "pair": (3, 2, "none"), "pair of two": (4, 2, "full"), "two pairs": (5, 4, "optimizer"),
    }  # fmt: skip

    def as_one(self, name, staleness=0):
        ranks, sampling, shard = self.PLACED[name]
        return ranks, [*self.placed(sampling, staleness), "--set", "rollout.tensor_parallel_size=2", "--set", f"trainer.shard={shard}"]

    def test_drawn_as_one(self):
        config = self.job("as-one", deterministic=False, algo=DRPO)
        keys = ["--set", "eval.temperature=0"]
        self.train(config, "as-one", 2, *keys, *self.placed(1, 0))
        one, evaluation = self.drawn("as-one", 1)[0], (self.folder / "as-one/eval/step_0.jsonl").read_text()
        for name in self.PLACED:
            with self.subTest(name):
                run = "as-one-" + name.replace(" ", "-")
                ranks, more = self.as_one(name)
                self.train(config, run, ranks, *keys, *more)
                self.assertEqual(evaluation, (self.folder / run / "eval/step_0.jsonl").read_text())
                self.assert_close(one, self.drawn(run, 1)[0])
                rows = [row for row in metrics_of(self.folder / run) if row["phase"] == "rl"]
                self.assertEqual([row["step"] for row in rows], [1, 2, 3, 4])
                for row in rows:
                    self.assertGreater(row["num_tokens"], 0)
                    self.assertEqual(row["samples/issued"], 48)
                    # What was drawn is what the ranks that train would have drawn, after each update.
                    self.assertLess(row["sampling/k3/mean"], 1e-9)
                stored = rows_of(unpacked(self.folder / run / "rollouts/step_4.jsonl.zst"))
                self.assertEqual(rows[3]["num_tokens"], sum(row["num_tokens"] for row in stored))

    def test_drawn_as_one_ahead(self):
        config = self.job("as-one-ahead", steps=8, deterministic=False, algo=DRPO)
        self.train(config, "as-one-ahead", 2, "--set", "run.steps=1", *self.placed(1, 0))
        one = self.drawn("as-one-ahead", 1)[0]
        for name in self.PLACED:
            with self.subTest(name):
                run = "as-one-ahead-" + name.replace(" ", "-")
                ranks, more = self.as_one(name, staleness=1)
                self.train(config, run, ranks, *more)
                self.assert_close(one, self.drawn(run, 1)[0])
                rows = [row for row in metrics_of(self.folder / run) if row["phase"] == "rl"]
                self.assertEqual([row["step"] for row in rows], list(range(1, 9)))
                for row in rows:
                    self.assertEqual(row["samples/issued"], 48)
                    self.assertLessEqual(row["staleness/max"], 1)
                    stored = rows_of(unpacked(self.folder / run / f"rollouts/step_{row['step']}.jsonl.zst"))
                    self.assertEqual(len({(one["problem"], one["sample"]) for one in stored}), 48)
                    # Tokens are of the weights that they say.
                    if row["staleness/mean"] == 0:
                        self.assertLess(row["sampling/k3/mean"], 1e-9)
                self.assertGreater(max(row["staleness/mean"] for row in rows), 0)
                self.assertGreater(max(row["sampling/k3/mean"] for row in rows), 1e-9)

    def assert_close(self, one, other):
        for a, b in zip(one, other, strict=True):
            self.assertEqual(a["response_ids"], b["response_ids"])
            for x, y in zip(a["logprobs"], b["logprobs"], strict=True):
                self.assertAlmostEqual(x, y, delta=1e-5)

    def test_drawn_as_one_is_left_and_killed(self):
        config = self.job("as-one-left", steps=30, deterministic=False, algo=DRPO)
        ranks, more = self.as_one("pair")
        ahead = self.as_one("pair", staleness=1)[1]
        for run, more, victim, one, code in (
            ("left", more, 2, signal.SIGTERM, 75), ("killed", more, 2, signal.SIGKILL, 1), ("killed-first", more, 1, signal.SIGKILL, 1),
            ("left-ahead", ahead, 2, signal.SIGTERM, 75), ("killed-ahead", ahead, 1, signal.SIGKILL, 1),
        ):  # fmt: skip
            with self.subTest(run):
                run = f"as-one-{run}"
                process = self.start_job(config, run, ranks, *more)
                pids = self.rank_pids(process, ranks)
                wait_for_step(self.folder / run, 2)
                os.kill(pids[victim], one)
                _, errors = process.communicate(timeout=60)
                self.assertEqual(process.returncode, code, errors)
                done = self.train(config, run, ranks, *more)
                self.assertIn("resuming from", done.stderr)
                rows = [row for row in metrics_of(self.folder / run) if row["phase"] == "rl"]
                self.assertEqual([row["step"] for row in rows], list(range(1, 31)))
                if more is not ahead:
                    self.assertLess(max(row["sampling/k3/mean"] for row in rows), 1e-9)

    def test_drawn_as_one_is_refused(self):
        config = self.job("as-one-wrong", deterministic=False, algo='type = "grpo"')
        apart = [*self.placed(2, 0), "--set", "rollout.tensor_parallel_size=2"]
        cases = [
            (["--set", "rollout.tensor_parallel_size=2"], 'mode = "colocated"'),
            ([*self.placed(3, 0), "--set", "rollout.tensor_parallel_size=2"], "3 ranks sample"),
            ([*apart, "--set", "run.deterministic=true"], "run.deterministic"),
            ([*apart, "--set", "trainer.lora.rank=2"], "[trainer.lora]"),
            ([*apart, "--set", "algo.beta=0.1", "--set", "algo.kl_in=reward"], "a pass over the model"),
            ([*self.placed(3, 0), "--set", "rollout.tensor_parallel_size=3"], "is not a multiple of 3"),
        ]
        for number, (keys, message) in enumerate(cases):
            with self.subTest(message):
                done = self.train(config, f"as-one-wrong-{number}", 4, *keys, code=2)
                self.assertIn("tensor_parallel_size", done.stderr)
                self.assertIn(message, done.stderr)

    def test_guard_goes_back_with_parts_of_a_model(self):
        rest = "[guard]\nmax_accuracy_loss = 0.2\n[sft]\nsteps = 2\nbatch_sequences = 16\n"
        config = self.job("guard-parts", steps=8, deterministic=False, algo=DRPO, rest=rest)
        keys = ["--set", "trainer.learning_rate=0.02", "--set", "data.eval_prompts=200", "--set", "run.eval_every=1"]
        ranks, more = self.as_one("pair")
        self.train(config, "guard-parts", ranks, *keys, *more)
        rows = metrics_of(self.folder / "guard-parts")
        self.assertIn("roll_back", [row.get("guard/move") for row in rows])
        self.assertLess(max(row["sampling/k3/mean"] for row in rows if row["phase"] == "rl"), 1e-8)


class OnGpus(RankJobs):
    """Over NCCL; on one GPU where there is no other: each says that it is a host of its own."""

    @classmethod
    def setUpClass(cls):
        if not json.loads(vernier("doctor", "--json").stdout)["gpu"]:
            raise unittest.SkipTest("no GPU")
        super().setUpClass()

    KEYS = ["--set", "run.device=cuda", "--set", "rollout.kv_cache_gb=0.5", "--set", "eval.temperature=0"]

    def start_on_gpus(self, config, run, count, port, *more):
        place = {"WORLD_SIZE": f"{count}", "LOCAL_WORLD_SIZE": f"{count}", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}
        return [
            subprocess.Popen(
                [str(VERNIER), "train", str(config), "--run", str(self.folder / run), *self.KEYS, *more],
                stderr=subprocess.PIPE, text=True, cwd=ROOT,
                env=os.environ | place | {"RANK": str(rank), "LOCAL_RANK": str(rank), "NCCL_HOSTID": f"host-{rank}"},
            )
            for rank in range(count)
        ]  # fmt: skip

    def end_on_gpus(self, ranks, code=0):
        for process in ranks:
            _, errors = process.communicate(timeout=300)
            self.assertEqual(process.returncode, code, errors)

    def test_gpu_ranks(self):
        config = self.job("gpus", deterministic=False, algo=DRPO, trainer='precision = "fp32"')
        self.train(config, "gpu-1", 1, *self.KEYS)
        one = (self.folder / "gpu-1/eval/step_0.jsonl").read_text()
        full, as_one = ["--set", "trainer.shard=full"], ["--set", "rollout.tensor_parallel_size=2"]
        for number, (count, more) in enumerate((
            (2, ["--set", "trainer.shard=none"]), (2, ["--set", "trainer.shard=optimizer"]), (2, full),
            (2, self.placed(1, 0)), (2, self.placed(1, 1)), (3, self.placed(1, 1) + full),
            (3, self.placed(2, 0) + as_one), (3, self.placed(2, 1) + as_one),
        )):  # fmt: skip
            run = self.folder / f"gpu-{number}"
            with self.subTest(more):
                self.end_on_gpus(self.start_on_gpus(config, run.name, count, 29520 + number, *more))
                self.assertEqual(one, (run / "eval/step_0.jsonl").read_text())
                rows = [row for row in metrics_of(run) if row["phase"] == "rl"]
                self.assertEqual([row["step"] for row in rows], [1, 2, 3, 4])
                if "rollout.max_staleness=1" not in more:
                    # What was drawn is what is trained on: all have the weights of the update before.
                    self.assertLess(max(row["sampling/k3/mean"] for row in rows), 1e-6)

    def test_weights_on_gpus_that_are_shared_out_come_back(self):
        """From a checkpoint, with a reference policy, where ranks draw and train and where they do not."""
        config = self.job("gpus-back", steps=40, deterministic=False, algo='type = "grpo"\nbeta = 0.05', trainer='precision = "bf16"')
        for number, (count, more) in enumerate(((2, []), (3, self.placed(1, 0)))):
            with self.subTest(more):
                run, more = f"gpu-back-{number}", [*more, "--set", "trainer.shard=full"]
                ranks = self.start_on_gpus(config, run, count, 29540 + 2 * number, *more)
                wait_for_step(self.folder / run, 2)
                ranks[0].send_signal(signal.SIGTERM)
                self.end_on_gpus(ranks, code=75)
                self.end_on_gpus(self.start_on_gpus(config, run, count, 29541 + 2 * number, *more))
                rows = [row for row in metrics_of(self.folder / run) if row["phase"] == "rl"]
                self.assertEqual([row["step"] for row in rows], list(range(1, 41)))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
