"""Several ranks on this machine: the same bits as one process, signals, deaths, stalls.

    python3 tests/ranks.py BUILD_FOLDER [NAME ...]

Standard library only.
"""

import itertools
import json
import math
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from stored_rows import rows_of, unpacked

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "build/release"
VERNIER = BUILD / "vernier"

# A model that knows a little, so that rewards differ: sums of up to three terms.
START = """
[run]
seed = 9
deterministic = true

[model.new]
characters = "0123456789abcdefgh+=#.?~"
end_token = "."

[data]
task = "chain_sum"

[data.chain_sum]
max_terms = 3

[sft]
steps = 200
"""

JOB = """
[run]
seed = 9
steps = {steps}
threads = 1
eval_every = 2
save_every = 1
keep_checkpoints = 50
deterministic = {deterministic}

[model]
path = "{start}"

[data]
task = "chain_sum"
eval_prompts = 24

[data.chain_sum]
max_terms = 3

[rollout]
num_generations = 8
prompts_per_step = 6
max_completion_length = 40
think_end = "#"
{rollout}

{rewards}

[algo]
{algo}

[trainer]
learning_rate = 2e-4
max_tokens_per_microbatch = 512
{trainer}

{rest}

[log.rollouts]
every = 1
token_fields = true

[cluster]
deadline_s = 5
"""

ACCURACY = '[[reward]]\ntype = "accuracy"\n'
DRPO = 'type = "drpo"\nlambda = 0.1\nlength_capacity = 40'
# Jobs that use what ranks share in different ways.
JOBS = {
    "drpo": dict(algo=DRPO),
    # Several updates a step, so that old log-probabilities are passes of their own.
    "grpo, two updates": dict(algo='type = "grpo"\nepsilon_high = 0.28', trainer="samples_per_update = 24"),
    # A filter that draws more prompts, and a cut that is judged again.
    "filter and dot": dict(
        algo='type = "dapo"',
        rollout='[rollout.filter]\nrule = "spread"\nrefill = "missing"\nmax_num_gen_batches = 3',
        rewards=ACCURACY + '[[transform]]\ntype = "dot"\nalpha = 1\nmargin = 2\n',
    ),
    # What rewards remember from step to step.
    "hapo and leash": dict(
        algo='type = "grpo"',
        rewards=ACCURACY + '[[reward]]\ntype = "hapo"\n[[reward]]\ntype = "leash"\ntarget = 20\n',
    ),
    # A greedy response to every prompt, and tokens that are chosen over the whole update.
    "remax, top entropy": dict(algo='type = "grpo"\nadvantage = "remax"\ntop_entropy = 0.2'),
    # A warm start first, and the policy that it ends with as the reference.
    "warm start and kl": dict(
        algo='type = "grpo"\nbeta = 0.05\nkl_in = "reward"', trainer="", rest="[sft]\nsteps = 4\nbatch_sequences = 16\n"
    ),
    # The advantage of a token depends on the KL to the start policy.
    "kl in the reward": dict(algo='type = "reinforce_plus_plus"\nbeta = 0.01'),
}


SLOW = """
import json, os, sys, time
for line in sys.stdin:
    question = json.loads(line)
    try:
        if os.environ["RANK"] == "RANK_THAT_IS_SLOW":
            os.open(__file__ + ".first", os.O_CREAT | os.O_EXCL)
            time.sleep(7)
    except FileExistsError:
        pass
    print(json.dumps({"id": question["id"], "rewards": [{"score": 0.0} for _ in question["responses"]]}), flush=True)
"""
PROGRAM = """
[[reward]]
type = "program"
command = ["{python}", "{path}"]
weight = 0.5
call_s = 30
needs_group = true
"""


def vernier(*arguments, timeout=600, **more):
    return subprocess.run(
        [str(VERNIER), *map(str, arguments)], capture_output=True, text=True, timeout=timeout, cwd=ROOT, **more
    )


def metrics_of(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().split("\n") if line]
    return [{k: v for k, v in row.items() if not k.startswith(("time/", "perf/", "memory/"))} for row in rows]


def optimizer_of(checkpoint):
    """The optimizer's tensors, put together from the slices of the ranks: block i is in slice i modulo their number."""
    whole = {}
    slices = {}
    for path in checkpoint.glob("trainer/optimizer*.safetensors"):
        data = path.read_bytes()
        begin = 8 + struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8:begin])
        place = int(header.pop("__metadata__", {}).get("slice", 0))
        for name, tensor in header.items():
            low, high = tensor["data_offsets"]
            block = 65536 // (256 if name.startswith("scales") else 1) * (1 if tensor["dtype"] == "U8" else 4)
            numbers = data[begin + low : begin + high]
            blocks = [numbers[at : at + block] for at in range(0, len(numbers), block)]
            slices.setdefault(name, {})[place] = blocks
    for name, by_place in slices.items():
        ordered = [by_place[place] for place in sorted(by_place)]
        rows = itertools.zip_longest(*ordered, fillvalue=b"")
        whole[name] = b"".join(itertools.chain.from_iterable(rows))
    return whole


def result_of(folder, steps, stored=None):
    """Everything that must not depend on the number of ranks, of a job that stored the responses of some steps, or all."""
    last = folder / f"checkpoint-{steps}"
    stored = range(1, steps + 1) if stored is None else stored
    return {
        "metrics": metrics_of(folder),
        "rollouts": [rows_of(unpacked(folder / f"rollouts/step_{step}.jsonl.zst")) for step in stored],
        "index": [(folder / f"rollouts/step_{step}.idx").read_text() for step in stored],
        "evaluations": {path.name: path.read_text() for path in (folder / "eval").glob("*.jsonl")},
        "weights": (last / "model.safetensors").read_bytes(),
        "optimizer": optimizer_of(last),
        "state": json.loads((last / "trainer/state.json").read_text()),
    }


def whole_rows(path):
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def wait_for_step(run, step, seconds=60):
    path = run / "metrics.jsonl"
    deadline = time.time() + seconds
    while not (path.exists() and any(row["phase"] == "rl" and row["step"] >= step for row in whole_rows(path))):
        if time.time() > deadline:
            raise AssertionError(f"{run.name}: step {step} did not come")
        time.sleep(0.02)


def rank_of(pid):
    """The rank that a process is by its environment; none where it is gone or no rank."""
    try:
        variables = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return next((int(one[5:]) for one in variables if one.startswith(b"RANK=")), None)


def local_ranks(launcher):
    """Process ids by rank of what --nproc has started."""
    try:
        children = pathlib.Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    except OSError:
        return {}
    return {rank: int(pid) for pid in children if (rank := rank_of(pid)) is not None}


class RankJobs(unittest.TestCase):
    """Jobs from one start policy, and what they leave."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="vernier-ranks-"))
        (cls.folder / "start.toml").write_text(START)
        for ranks in (1, 2):
            done = vernier("train", cls.folder / "start.toml", "--run", cls.folder / f"start-{ranks}", "--nproc", ranks)
            assert done.returncode == 0, done.stderr
        cls.start = cls.folder / "start-1/checkpoint-0"

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def job(self, name, steps=4, deterministic=True, **parts):
        filled = dict(rollout="", rewards=ACCURACY, trainer="", rest="") | parts
        text = JOB.format(start=self.start, steps=steps, deterministic=str(deterministic).lower(), **filled)
        path = self.folder / f"{re.sub('[^a-z0-9]+', '-', name)}.toml"
        path.write_text(text)
        return path

    def train(self, config, run, ranks, *more, code=0):
        done = vernier("train", config, "--run", self.folder / run, "--nproc", ranks, *more)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def assert_same(self, one, other, what):
        for key in one:
            if key == "metrics":
                for a, b in zip(one[key], other[key]):
                    differing = {k: (a.get(k), b.get(k)) for k in a.keys() | b.keys() if a.get(k) != b.get(k)}
                    self.assertEqual(differing, {}, f"{what}: metrics of step {a['step']}")
            self.assertTrue(one[key] == other[key], f"{what}: {key}")

    def placed(self, sampling, staleness):
        keys = ["--set", f"rollout.max_staleness={staleness}"]
        if sampling:
            keys += ["--set", "rollout.mode=disaggregated", "--set", f"rollout.ranks={sampling}"]
        return keys

    def drawn(self, run, steps):
        """What every step trains on, less what says when it was drawn."""
        out = []
        for step in range(1, steps + 1):
            rows = rows_of(unpacked(self.folder / f"{run}/rollouts/step_{step}.jsonl.zst"))
            out.append([{k: row[k] for k in ("problem", "sample", "response_ids", "logprobs", "reward")} for row in rows])
        return out

    def start_job(self, config, run, ranks, *more):
        return subprocess.Popen(
            [str(VERNIER), "train", str(config), "--run", str(self.folder / run), "--nproc", str(ranks), *more],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def rank_pids(self, process, ranks):
        """Process ids by rank, once all are there."""
        deadline = time.time() + 60
        while time.time() < deadline:
            found = local_ranks(process.pid)
            if len(found) == ranks:
                return found
            time.sleep(0.05)
        self.fail("the ranks did not start")


class Ranks(RankJobs):
    def test_warm_start(self):
        one, two = self.folder / "start-1", self.folder / "start-2"
        self.assertEqual(metrics_of(one), metrics_of(two))
        for name in ("model.safetensors", "trainer/optimizer.safetensors"):
            self.assertEqual((one / "checkpoint-0" / name).read_bytes(), (two / "checkpoint-0" / name).read_bytes())

    def test_same_bits(self):
        for name, parts in JOBS.items():
            with self.subTest(name):
                config = self.job(name, **parts)
                run = re.sub("[^a-z0-9]+", "-", name)
                self.train(config, f"{run}-1", 1)
                one = result_of(self.folder / f"{run}-1", 4)
                self.assertTrue(any(row.get("grad_norm", 0) > 0 for row in one["metrics"]), "nothing was learned")
                for ranks in (2, 4):
                    self.train(config, f"{run}-{ranks}", ranks)
                    self.assert_same(one, result_of(self.folder / f"{run}-{ranks}", 4), f"{name}, {ranks} ranks")
                apart = ["--set", "rollout.mode=disaggregated", "--set", "rollout.ranks=1"]
                self.train(config, f"{run}-apart", 2, *apart)
                self.assert_same(one, result_of(self.folder / f"{run}-apart", 4), f"{name}, one samples")
                full = ["--set", "trainer.shard=full"]
                self.train(config, f"{run}-full", 2, *full)
                self.assert_same(one, result_of(self.folder / f"{run}-full", 4), f"{name}, weights shared out")
                self.train(config, f"{run}-full-apart", 3, *full, *apart)
                self.assert_same(one, result_of(self.folder / f"{run}-full-apart", 4), f"{name}, shared out, one samples")

    def test_same_bits_wherever_ranks_sample_and_moments_lie(self):
        config = self.job("placed", algo=DRPO)
        self.train(config, "placed", 1)
        one = result_of(self.folder / "placed", 4)
        self.assertEqual(len(list((self.folder / "placed/checkpoint-4/trainer").glob("optimizer*"))), 1)
        placements = [(2, 0), (4, 0), (2, 1), (3, 2), (4, 3), (3, 1)]  # ranks, those that only sample
        for ranks, sampling in placements:
            for shard in ("none", "optimizer", "full"):
                if shard == "none" and sampling == 0:
                    continue  # that is test_same_bits
                name = f"placed-{ranks}-{sampling}-{shard}"
                with self.subTest(name):
                    keys = ["--set", f"trainer.shard={shard}"]
                    if sampling:
                        keys += ["--set", "rollout.mode=disaggregated", "--set", f"rollout.ranks={sampling}"]
                    self.train(config, name, ranks, *keys)
                    self.assert_same(one, result_of(self.folder / name, 4), name)

    def test_shared_out_weights_are_saved_in_the_warm_start(self):
        sft = "[sft]\nsteps = 60\nsave_every = 20\nbatch_sequences = 16\n"
        config = self.job("sft-left", steps=1, algo=DRPO, rest=sft)
        self.train(config, "sft-1", 1)
        full = ["--set", "trainer.shard=full"]
        process = self.start_job(config, "sft-2", 2, *full)
        deadline = time.time() + 60
        while not (self.folder / "sft-2/checkpoint-sft-20/config.json").exists() and time.time() < deadline:
            time.sleep(0.01)
        process.terminate()
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 75, errors)
        done = self.train(config, "sft-2", 2, *full)
        self.assertIn("resuming from", done.stderr)
        self.assert_same(result_of(self.folder / "sft-1", 1), result_of(self.folder / "sft-2", 1), "sft")

    def test_ranks_without_a_sample(self):
        config = self.job("idle", steps=2, deterministic=False, algo=DRPO)
        for shard in ("none", "optimizer", "full"):
            with self.subTest(shard):
                self.train(config, f"idle-{shard}", 3, "--set", "rollout.prompts_per_step=1", "--set", f"trainer.shard={shard}")

    def test_guard_goes_back_with_weights_that_are_shared_out(self):
        guard = "[guard]\nmax_accuracy_loss = 0.2\n"
        config = self.job("guard", steps=8, algo=DRPO, rest=guard)
        keys = ["--set", "trainer.learning_rate=0.02", "--set", "data.eval_prompts=200", "--set", "run.eval_every=1",
                "--set", "run.threads=2"]
        self.train(config, "guard-1", 1, *keys)
        self.assertIn("roll_back", [row.get("guard/move") for row in metrics_of(self.folder / "guard-1")])
        full = [*keys, "--set", "trainer.shard=full"]
        for run, ranks, more in (("guard-2", 2, ()), ("guard-3", 3, self.placed(1, 0))):
            with self.subTest(run):
                self.train(config, run, ranks, *full, *more)
                self.assertEqual(metrics_of(self.folder / "guard-1"), metrics_of(self.folder / run))

    def test_slices_of_fewer_numbers_than_ranks(self):
        # Adapters of one block: one rank has them all, the other nothing.
        lora = "[trainer.lora]\nrank = 1\n"
        config = self.job("small", algo=DRPO, rest=lora)
        self.train(config, "small-1", 1)
        self.train(config, "small-2", 2, "--set", "trainer.shard=optimizer")
        self.assert_same(result_of(self.folder / "small-1", 4), result_of(self.folder / "small-2", 4), "small")

    def test_waiting_is_not_being_stuck(self):
        # The reward of one rank takes longer than the deadline, the other has nothing to do meanwhile.
        for rank in ("0", "1"):
            reward = self.folder / f"slow_{rank}.py"
            reward.write_text(SLOW.replace("RANK_THAT_IS_SLOW", rank))
            program = PROGRAM.format(python=sys.executable, path=reward)
            config = self.job(f"slow-{rank}", steps=1, algo='type = "grpo"', rewards=ACCURACY + program)
            began = time.time()
            self.train(config, f"slow-{rank}", 2, "--set", "cluster.deadline_s=2")
            self.assertGreater(time.time() - began, 7)

    def test_slices_are_read_by_other_ranks(self):
        for optimizer in ("adamw", "adamw_8bit"):
            with self.subTest(optimizer):
                keys = ["--set", f"trainer.optimizer={optimizer}"]
                config = self.job(f"sliced-{optimizer}", algo=DRPO)
                self.train(config, f"sliced-{optimizer}-1", 1, *keys)
                run = f"sliced-{optimizer}-2"
                for steps, ranks, shard in ((1, 2, "optimizer"), (2, 1, "none"), (3, 4, "full"), (4, 2, "optimizer")):
                    self.train(config, run, ranks, *keys, "--set", f"trainer.shard={shard}", "--set", f"run.steps={steps}")
                one = result_of(self.folder / f"sliced-{optimizer}-1", 4)
                two = result_of(self.folder / run, 4)
                # Every end of the run has an evaluation, so the metrics have more rows.
                for key in ("rollouts", "weights", "optimizer"):
                    self.assertTrue(one[key] == two[key], key)

    def test_other_ranks_after_a_restart(self):
        config = self.job("resumed", algo=DRPO)
        self.train(config, "whole", 1)
        self.train(config, "parts", 4, "--set", "run.steps=2")
        # The schedule of the learning rate is constant, so that fewer steps first change nothing.
        self.train(config, "parts", 2)
        self.assertEqual(metrics_of(self.folder / "whole")[-1], metrics_of(self.folder / "parts")[-1])
        weights = [self.folder / run / "checkpoint-4/model.safetensors" for run in ("whole", "parts")]
        self.assertEqual(weights[0].read_bytes(), weights[1].read_bytes())

    def test_close_without_determinism(self):
        config = self.job("free", deterministic=False, algo=DRPO)
        self.train(config, "free-1", 1)
        one = metrics_of(self.folder / "free-1")

        def compare(expected, found):
            for key, value in expected.items():
                if isinstance(value, float) and key != "microbatches":
                    self.assertTrue(
                        math.isclose(value, found[key], rel_tol=1e-6, abs_tol=1e-6),
                        f"step {expected['step']}: {key}: {value} and {found[key]}",
                    )

        for ranks in (2, 3):
            for step in range(1, 5):
                # Each step from the checkpoint that one process had before it.
                run = self.folder / f"free-{ranks}-{step}"
                start = self.folder / f"free-1/checkpoint-{step - 1}"
                self.train(config, run, ranks, "--resume", start, "--set", f"run.steps={step}")
                rows = [row for row in metrics_of(run) if row["phase"] == "rl"]
                self.assertEqual(len(rows), 1)
                compare(next(r for r in one if r["phase"] == "rl" and r["step"] == step), rows[0])

    ASYNCHRONOUS = (  # ranks, those that only sample, rollout.max_staleness
        (1, 0, 1), (2, 0, 2), (2, 1, 1), (3, 2, 2), (3, 1, 1),
    )  # fmt: skip

    def test_drawn_ahead_with_the_same_weights(self):
        # A policy that does not change is the same however old it is: so must be all that is drawn from it.
        jobs = {"kept": dict(algo=DRPO), "greedy": JOBS["remax, top entropy"], "filtered": JOBS["filter and dot"]}
        for name, parts in jobs.items():
            config = self.job(f"same-{name}", deterministic=False, **parts)
            keys = ["--set", "trainer.learning_rate=0"]
            # A filter lets places run ahead of steps, and a place alone gives a response its random numbers there.
            self.train(config, f"same-{name}", 1, *keys, *(self.placed(0, 1) if name == "filtered" else ()))
            one = self.drawn(f"same-{name}", 4)
            for ranks, sampling, staleness in self.ASYNCHRONOUS:
                run = f"same-{name}-{ranks}-{sampling}-{staleness}"
                with self.subTest(run):
                    self.train(config, run, ranks, *keys, *self.placed(sampling, staleness))
                    self.assertEqual(one, self.drawn(run, 4))

    def test_asynchronous(self):
        config = self.job("ahead", steps=6, deterministic=False, algo='type = "grpo"')
        for ranks, sampling, staleness in self.ASYNCHRONOUS:
            run = f"ahead-{ranks}-{sampling}-{staleness}"
            with self.subTest(run):
                self.train(config, run, ranks, *self.placed(sampling, staleness))
                self.assert_oldest_first(self.folder / run, 6, staleness)
        # Weights that come together where they leave.
        self.train(config, "ahead-full", 3, *self.placed(1, 1), "--set", "trainer.shard=full")
        self.assert_oldest_first(self.folder / "ahead-full", 6, 1)

    def assert_oldest_first(self, run, steps, staleness):
        """Every step has the prompts that a step without staleness has, and no weights that are too old."""
        rows = {row["step"]: row for row in metrics_of(run) if row["phase"] == "rl"}
        reference = self.folder / "ahead-reference"
        if not reference.exists():
            self.train(self.job("ahead", steps=6, deterministic=False, algo='type = "grpo"'), reference.name, 1)
        ages = set()
        for step in range(1, steps + 1):
            name = f"rollouts/step_{step}.jsonl.zst"
            found, wanted = [
                rows_of(unpacked(folder / name)) for folder in (run, reference)
            ]
            self.assertEqual([(r["problem"], r["sample"]) for r in found], [(r["problem"], r["sample"]) for r in wanted])
            tokens = age = 0
            for row in found:
                self.assertEqual(sum(count for _, count in row["versions"]), row["num_tokens"])
                for version, count in row["versions"]:
                    ages.add(step - 1 - version)
                    tokens += count
                    age += count * (step - 1 - version)
            self.assertAlmostEqual(rows[step]["staleness/mean"], age / tokens)
            # The recorded log-probabilities are those of the weights that drew the tokens.
            self.assertEqual(rows[step]["staleness/mean"] > 0, rows[step]["sampling/k3/mean"] > 0)
        self.assertEqual(min(ages), 0)
        self.assertGreater(max(ages), 0)
        self.assertLessEqual(max(ages), staleness)

    def test_asynchronous_job_is_left_and_killed(self):
        config = self.job("ahead-left", steps=40, deterministic=False, algo=DRPO)
        keys = self.placed(1, 1)
        for run, victim, one, code in (
            ("left-trainer", 0, signal.SIGTERM, 75),
            ("left-sampler", 1, signal.SIGUSR1, 75),
            ("killed-trainer", 0, signal.SIGKILL, 1),
            ("killed-sampler", 1, signal.SIGKILL, 1),
        ):
            with self.subTest(run):
                process = self.start_job(config, run, 2, *keys)
                pids = self.rank_pids(process, 2)
                wait_for_step(self.folder / run, 2)
                os.kill(pids[victim], one)
                _, errors = process.communicate(timeout=60)
                self.assertEqual(process.returncode, code, errors)
                self.train(config, run, 2, *keys)
                steps = [row["step"] for row in metrics_of(self.folder / run) if row["phase"] == "rl"]
                self.assertEqual(steps, list(range(1, 41)))

    def hit(self, config, run, victim, one):
        """What a job of two ranks says, one of which is sent a signal, and how long it takes to end with 1."""
        process = self.start_job(config, run, 2)
        pids = self.rank_pids(process, 2)
        wait_for_step(self.folder / run, 2)
        os.kill(pids[victim], one)
        began = time.time()
        _, errors = process.communicate(timeout=90)
        self.assertEqual(process.returncode, 1, errors)
        return errors, time.time() - began

    def test_signal_to_one_rank(self):
        config = self.job("signalled", steps=30, algo=DRPO)
        process = self.start_job(config, "signalled", 2)
        pids = self.rank_pids(process, 2)
        wait_for_step(self.folder / "signalled", 2)
        os.kill(pids[1], signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 75, errors)
        self.assertTrue((self.folder / "signalled/REQUEUE").exists())
        self.train(config, "signalled", 2)
        self.assertFalse((self.folder / "signalled/REQUEUE").exists())
        self.train(config, "undisturbed", 1)
        self.assert_same(
            result_of(self.folder / "undisturbed", 30), result_of(self.folder / "signalled", 30), "after a signal"
        )

    def test_signal_to_the_launcher(self):
        config = self.job("left", steps=200, algo=DRPO)
        process = self.start_job(config, "left", 2)
        wait_for_step(self.folder / "left", 1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 75, errors)

    def test_signal_before_the_ranks_are_ready(self):
        config = self.job("early", steps=40, algo=DRPO)
        for one in (signal.SIGUSR1, signal.SIGTERM):
            process = self.start_job(config, f"early-{one}", 2)
            self.rank_pids(process, 2)
            process.send_signal(one)
            _, errors = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 75, errors)
            self.assertTrue((self.folder / f"early-{one}/REQUEUE").exists(), errors)

    def test_killed_rank(self):
        config = self.job("killed", steps=12, algo=DRPO)
        for victim in (0, 1):
            run = f"killed-{victim}"
            errors, seconds = self.hit(config, run, victim, signal.SIGKILL)
            self.assertIn(f"rank {victim} was killed by signal 9", errors)
            self.assertLess(seconds, 5 + 5 + 5)
            self.train(config, run, 2)
        self.train(config, "killed-none", 1)
        expected = result_of(self.folder / "killed-none", 12)
        for victim in (0, 1):
            self.assert_same(expected, result_of(self.folder / f"killed-{victim}", 12), f"rank {victim} was killed")

    def test_stopped_rank(self):
        config = self.job("stopped", steps=200, algo=DRPO)
        for victim in (0, 1):
            run = f"stopped-{victim}"
            errors, seconds = self.hit(config, run, victim, signal.SIGSTOP)
            # The deadline, some ticks, and what the launcher leaves the others.
            self.assertLess(seconds, 5 + 5 + 5 + 5)
            if victim == 1:
                self.assertRegex(errors, r"rank 1 \(.*\) gives no sign of life: phase \w+, .*last heartbeat \d")
            else:
                self.assertRegex(errors, r"the store at 127.0.0.1:\d+ has not answered for .*rank 0")
            self.assertIn("its last operations:", errors)

    def test_wrong_starts(self):
        config = self.job("wrong", algo=DRPO)
        cases = [
            (["--nproc", "3"], {}, "run.deterministic: 3 ranks cannot share 8 parts"),
            (["--nproc", "0"], {}, "--nproc"),
            (["--nproc", "2"], {"RANK": "0", "WORLD_SIZE": "1"}, "--nproc: this process is rank 0 of 1"),
            ([], {"RANK": "0"}, "WORLD_SIZE is not set"),
            ([], {"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR is not set"),
            (
                [],
                {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"},
                "cluster.interface: not given, and the ranks are on several machines",
            ),
        ]
        for number, (arguments, environment, message) in enumerate(cases):
            with self.subTest(message):
                done = vernier(
                    "train", config, "--run", self.folder / f"wrong-{number}", *arguments, env=os.environ | environment
                )
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(message, done.stderr)

    def test_another_configuration_on_one_rank(self):
        config = self.job("apart", algo=DRPO)
        place = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29512"}
        ranks = []
        for rank in (0, 1):
            environment = os.environ | place | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            seed = ["--set", f"run.seed={rank}"]
            ranks.append(
                subprocess.Popen(
                    [str(VERNIER), "train", str(config), "--run", str(self.folder / "apart"), *seed],
                    stderr=subprocess.PIPE,
                    text=True,
                    cwd=ROOT,
                    env=environment,
                )
            )
        for process in ranks:
            _, errors = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 2, errors)
            self.assertIn("the configuration of rank 1 is another than that of rank 0", errors)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
