"""Workers that join a job, draw for it, die, stall and leave: the same bits as without them.

    python3 tests/workers.py BUILD_FOLDER [NAME ...]

Standard library only.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from ranks import ACCURACY, DRPO, JOB, JOBS, START, VERNIER, metrics_of, result_of, vernier, wait_for_step, whole_rows

# What may depend on who draws.
OF_WORKERS = ("workers/", "staleness/")


class Worker:
    def __init__(self, address, secret, log, *more, prefix=(), program=VERNIER):
        self.log = log
        with open(log, "w") as out:
            self.process = subprocess.Popen(
                [*prefix, str(program), "worker", "--join", address, "--secret", str(secret), "--threads", "1", *more],
                stderr=out,
            )

    def send(self, one):
        try:
            os.kill(self.process.pid, one)
        except OSError:
            pass

    def end(self, seconds=30):
        return self.process.wait(timeout=seconds)

    def kill(self):
        self.process.kill()
        self.process.wait()


def address_of(job_log, seconds=30):
    """Where the workers of a job join, once it says so."""
    until = time.time() + seconds
    while time.time() < until:
        found = re.search(r"workers: they join at (\S+);", job_log.read_text())
        if found:
            return found[1]
        time.sleep(0.02)
    raise AssertionError(f"the job does not listen:\n{job_log.read_text()}")


def without_workers(result):
    rows = [{k: v for k, v in row.items() if not k.startswith(OF_WORKERS)} for row in result["metrics"]]
    return result | {"metrics": rows}


class Workers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="vernier-workers-"))
        (cls.folder / "start.toml").write_text(START)
        done = vernier("train", cls.folder / "start.toml", "--run", cls.folder / "start")
        assert done.returncode == 0, done.stderr
        cls.secret = cls.folder / "secret"
        cls.secret.write_text("0123456789abcdef0123456789abcdef\n")
        cls.secret.chmod(0o600)
        cls.listen = ["--set", "cluster.workers.listen=127.0.0.1:0", "--set", f"cluster.workers.secret={cls.secret}"]

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def job(self, name, steps, **parts):
        filled = dict(rollout="", rewards=ACCURACY, trainer="", rest="", algo=DRPO, deterministic="true") | parts
        path = self.folder / f"{name}.toml"
        path.write_text(JOB.format(start=self.folder / "start/checkpoint-0", steps=steps, **filled))
        return path

    def start(self, config, run, *more):
        log = self.folder / f"{run}.log"
        with open(log, "w") as out:
            process = subprocess.Popen(
                [str(VERNIER), "train", str(config), "--run", str(self.folder / run), *self.listen, *more], stderr=out
            )
        return process, log

    def worker(self, log, name, *more):
        return Worker(address_of(log), self.secret, self.folder / f"{name}.log", *more)

    def alone(self, config, run, steps, *more):
        done = vernier("train", config, "--run", self.folder / run, *more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return result_of(self.folder / run, steps)

    def assert_same(self, one, other):
        other = without_workers(other)
        for a, b in zip(one["metrics"], other["metrics"]):
            differing = {k: (a.get(k), b.get(k)) for k in a.keys() | b.keys() if a.get(k) != b.get(k)}
            self.assertEqual(differing, {}, f"metrics of step {a['step']}")
        for key in one:
            self.assertTrue(one[key] == other[key], key)

    def wait_for(self, holds, what, seconds=30):
        until = time.time() + seconds
        while not holds():
            self.assertLess(time.time(), until, f"{what} did not come")
            time.sleep(0.02)

    def steps_of(self, run):
        path = self.folder / run / "metrics.jsonl"
        return len(whole_rows(path)) if path.exists() else 0

    def groups_of_workers(self, run):
        return sum(row.get("workers/groups", 0) for row in metrics_of(self.folder / run))

    def test_same_bits(self):
        jobs = {
            "drpo": dict(),
            "hapo": JOBS["hapo and leash"],
            "greedy": JOBS["remax, top entropy"],
            "filter": JOBS["filter and dot"],
            "limits": dict(rollout="length_steps = [3, 30]\nlength_limits = [15, 30]"),
        }
        for name, parts in jobs.items():
            for ranks in (1, 2):
                with self.subTest(f"{name}, {ranks} ranks"):
                    config = self.job(name, 40, **parts)
                    expected = self.alone(config, f"{name}-alone-{ranks}", 40)
                    run = f"{name}-{ranks}"
                    more = ("--nproc", str(ranks)) if ranks > 1 else ()
                    process, log = self.start(config, run, "--set", "cluster.workers.at_start=2", *more)
                    workers = [self.worker(log, f"{run}-{i}") for i in range(2)]
                    self.assertEqual(process.wait(timeout=120), 0, log.read_text())
                    for one in workers:
                        self.assertEqual(one.end(), 0, one.log.read_text())
                    rows = [row for row in metrics_of(self.folder / run) if row["phase"] == "rl"]
                    self.assertGreater(min(row["workers/count"] for row in rows), 0)
                    if ranks == 1:  # of more the second may be done before a worker has begun
                        self.assertGreater(self.groups_of_workers(run), 0)
                    self.assert_same(expected, result_of(self.folder / run, 40))

    def test_workers_that_die_stall_and_leave(self):
        config = self.job("faults", 700)
        expected = self.alone(config, "faults-alone", 700)
        self.train_with_faults(config, "faults")
        self.assert_same(expected, result_of(self.folder / "faults", 700))

    def test_workers_that_die_stall_and_leave_while_weights_come_beside(self):
        config = self.job("faults-ahead", 700, deterministic="false")
        self.train_with_faults(config, "faults-ahead", "--set", "rollout.max_staleness=1")
        self.assert_as_alone(config, "faults-ahead", 700, 1)

    def test_workers_that_are_killed_as_they_join(self):
        config = self.job("churn", 3000, deterministic="false")
        more = ("rollout.max_staleness=1", "cluster.deadline_s=3", "run.save_every=0", "run.eval_every=0")
        process, log = self.start(config, "churn", *(word for key in more for word in ("--set", key)))
        for i in range(15):
            one = self.worker(log, f"churn-{i}")
            self.wait_for(lambda: log.read_text().count("has joined") > i, "the worker")
            time.sleep(0.15 + 0.01 * i)
            one.kill()
        self.wait_for(lambda: log.read_text().count("is gone") == 15, "the end of the last one")
        self.assertIsNone(process.poll(), log.read_text())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=60), 75, log.read_text())

    def train_with_faults(self, config, run, *more):
        process, log = self.start(config, run, "--set", "cluster.deadline_s=3", *more)
        for i, one in enumerate((signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM)):
            victim, other = self.worker(log, f"{run}-{i}"), self.worker(log, f"{run}-{i}-b")
            self.wait_for(lambda: log.read_text().count("has joined") == 2 * i + 2, "the workers")
            steps = self.steps_of(run)
            self.wait_for(lambda: self.steps_of(run) > steps + 2, "steps with them")
            victim.send(one)
            if one == signal.SIGTERM:
                self.assertEqual(victim.end(), 0)
            cause = {signal.SIGSTOP: "has not been heard of|did not say", signal.SIGKILL: "ended"}.get(one, "ended")
            self.wait_for(lambda: re.search(cause, log.read_text().rsplit("has joined", 1)[-1]), f"the end by {one.name}")
            # Nothing else is gone.
            self.assertEqual(len(re.findall("is gone", log.read_text())), 2 * i + 1, log.read_text())
            victim.kill()
            other.kill()
        self.assertEqual(process.wait(timeout=120), 0, log.read_text())
        self.assertGreater(self.groups_of_workers(run), 0)
        self.assertIn("is gone", log.read_text())

    def test_drawn_ahead(self):
        config = self.job("ahead", 60, deterministic="false")
        more = ("rollout.max_staleness=2", "cluster.workers.at_start=2")
        process, log = self.start(config, "ahead", *(word for key in more for word in ("--set", key)))
        workers = [self.worker(log, f"ahead-{i}") for i in range(2)]
        # A write to a worker that dies is an error there, and not the end of the job.
        ignored = int(re.search(r"SigIgn:\s*(\w+)", pathlib.Path(f"/proc/{process.pid}/status").read_text())[1], 16)
        self.assertTrue(ignored >> (signal.SIGPIPE - 1) & 1)
        self.assertEqual(process.wait(timeout=120), 0, log.read_text())
        for one in workers:
            self.assertEqual(one.end(), 0)
        self.assert_as_alone(config, "ahead", 60, 2)
        self.assertGreater(self.groups_of_workers("ahead"), 0)

    def assert_as_alone(self, config, run, steps, staleness):
        """Every step has the prompts of a job without workers, and no weights that are too old."""
        alone, found = self.alone(config, f"{run}-alone", steps), result_of(self.folder / run, steps)
        place = [[(row["problem"], row["sample"]) for row in rows] for rows in found["rollouts"]]
        self.assertEqual(place, [[(row["problem"], row["sample"]) for row in rows] for rows in alone["rollouts"]])
        rows = [row for row in found["metrics"] if row["phase"] == "rl"]
        self.assertLessEqual(max(row["staleness/max"] for row in rows), staleness)
        self.assertGreater(max(row["staleness/max"] for row in rows), 0)
        for row in rows:  # tokens are of the weights that they say
            self.assertEqual(row["staleness/mean"] > 0, row["sampling/k3/mean"] > 0)

    def test_guard_goes_back_with_workers(self):
        rest = "[guard]\nmax_accuracy_loss = 0.2\n[sft]\nsteps = 2\nbatch_sequences = 16\n"
        config = self.job("guard", 8, deterministic="false", rest=rest)
        more = ("rollout.max_staleness=1", "cluster.workers.at_start=2", "trainer.learning_rate=0.02", "data.eval_prompts=200", "run.eval_every=1")
        process, log = self.start(config, "guard", *(word for key in more for word in ("--set", key)))
        workers = [self.worker(log, f"guard-{i}") for i in range(2)]
        self.assertEqual(process.wait(timeout=120), 0, log.read_text())
        for one in workers:
            self.assertEqual(one.end(), 0)
        rows = metrics_of(self.folder / "guard")
        back = [i for i, row in enumerate(rows) if row.get("guard/move") == "roll_back"]
        after = [next((row for row in rows[i:] if row["phase"] == "rl"), None) for i in back]
        after = [row for row in after if row]  # but for one at the end
        self.assertTrue(after)
        for row in after:  # nobody draws with the policy that was left
            self.assertEqual((row["staleness/mean"], row["sampling/k3/mean"]), (0, 0))

    def test_a_worker_that_gets_no_weights(self):
        config = self.job("unreached", 600)
        expected = self.alone(config, "unreached-alone", 600)
        process, log = self.start(config, "unreached", *("--set", "cluster.deadline_s=2", "--set", "cluster.workers.at_start=1"))
        good = self.worker(log, "unreached-good")
        self.wait_for(lambda: self.steps_of("unreached") > 3, "steps")
        bad = self.worker(log, "unreached-bad", "--interface", "nosuch0")
        self.wait_for(lambda: "the weights did not reach it" in log.read_text(), "the end of the bad one")
        self.assertEqual(process.wait(timeout=120), 0, log.read_text())
        self.assertEqual(good.end(), 0, good.log.read_text())
        self.assertEqual(bad.end(), 1)
        self.assertIn("the weights have not arrived", bad.log.read_text())
        self.assertIn("the weights did not reach it", log.read_text())
        self.assertEqual(log.read_text().count("is gone"), 1, log.read_text())
        self.assert_same(expected, result_of(self.folder / "unreached", 600))

    def test_a_signal_while_workers_are_waited_for(self):
        for ranks in (1, 2):
            run = f"waiting-{ranks}"
            config = self.job(run, 4)
            more = ("--nproc", str(ranks)) if ranks > 1 else ()
            process, log = self.start(config, run, "--set", "cluster.workers.at_start=1", *more)
            address_of(log)
            time.sleep(1)
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(timeout=60), 75, log.read_text())
            self.assertTrue((self.folder / run / "checkpoint-0").exists())
        process, log = self.start(config, "nobody", "--set", "cluster.workers.at_start=1", "--set", "cluster.start_deadline_s=1")
        self.assertEqual(process.wait(timeout=60), 1)
        self.assertIn("0 of the 1 that the job waits for", log.read_text())

    def test_a_job_that_is_left_or_dies(self):
        config = self.job("left", 2000)
        for one, code, of_worker in ((signal.SIGTERM, 75, 75), (signal.SIGKILL, -9, 1)):
            run = f"left-{code}"
            process, log = self.start(config, run, "--set", "cluster.workers.at_start=1")
            worker = self.worker(log, run)
            wait_for_step(self.folder / run, 20)
            process.send_signal(one)
            self.assertEqual(process.wait(timeout=60), code)
            self.assertEqual(worker.end(), of_worker, worker.log.read_text())
        self.assertIn("the job is gone", worker.log.read_text())

    def test_who_may_not_join(self):
        config = self.job("guarded", 300)
        process, log = self.start(config, "guarded")
        other = self.folder / "other"
        other.write_text("another secret, long enough\n")
        other.chmod(0o600)
        address = address_of(log)

        def refused(code, text, *arguments):
            done = vernier("worker", *arguments)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(text, done.stderr)

        refused(1, "is the secret the job's?", "--join", address, "--secret", other)
        refused(1, "cannot be reached", "--join", "127.0.0.1:1", "--secret", self.secret)
        refused(2, "is not HOST:PORT", "--join", "somewhere", "--secret", self.secret)
        refused(2, "cannot be read", "--join", address, "--secret", self.folder / "none")
        other.chmod(0o644)
        refused(2, "chmod 600", "--join", address, "--secret", other)
        self.assertIn("is refused: its secret is another one", log.read_text())
        self.assertEqual(process.wait(timeout=120), 0, log.read_text())

    def test_what_is_not_drawn_by_workers_is_refused(self):
        config = self.job("refused", 1)
        for text, *keys in (
            ("'everywhere' is not HOST:PORT", "cluster.workers.listen=everywhere"),
            ('rollout.mode = "disaggregated"', "rollout.mode=disaggregated", "rollout.ranks=1"),
            ("[trainer.lora]", "trainer.lora.rank=4"),
            ("max_staleness", "rollout.max_staleness=1"),
        ):
            more = [word for key in keys for word in ("--set", key)]
            done = vernier("train", config, "--run", self.folder / "refused", *self.listen, *more)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(text, done.stderr)
        done = vernier("train", config, "--run", self.folder / "refused", *self.listen[:2])
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("secret", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
