"""The launchers of clusters as configs/cluster has them: torchrun, Open MPI, Slurm, Kubernetes' manifest.

    python3 tests/launchers.py BUILD_FOLDER [NAME ...]

What `tools/setup launchers` has not installed is skipped by name. VERNIER_DEPS as in tools/setup.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from mini_slurm import MiniSlurm, missing
from namespaces import Hosts, why_none
from ranks import ACCURACY, DRPO, JOB, START, metrics_of, rank_of, result_of, wait_for_step

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "build/release"
VERNIER = BUILD / "vernier"
DEPS = pathlib.Path(os.environ.get("VERNIER_DEPS", ROOT / "build/deps"))
CLUSTER = ROOT / "configs/cluster"
LAUNCHERS = DEPS / "launchers"
STEPS = 12

TORCHRUN = """#!/usr/bin/env bash
export PYTHONPATH={launchers}:{deps}
export LD_LIBRARY_PATH={libraries}
exec python3 -m torch.distributed.run "$@"
"""


def torch_libraries():
    folders = ["/usr/local/cuda/lib64", "/usr/local/cuda/extras/CUPTI/lib64"]
    return ":".join(folders + [str(path) for path in sorted(LAUNCHERS.glob("nvidia/*/lib"))])


def no_torchrun():
    if not LAUNCHERS.exists():
        return "torchrun's Python packages are not there (tools/setup launchers)"
    environment = os.environ | {"PYTHONPATH": f"{LAUNCHERS}:{DEPS}", "LD_LIBRARY_PATH": torch_libraries()}
    done = subprocess.run(
        [sys.executable, "-c", "import torch.distributed.run"], env=environment, capture_output=True, text=True
    )
    return "" if done.returncode == 0 else "torch cannot be imported: " + done.stderr.strip().split("\n")[-1]


NO_TORCHRUN = no_torchrun()
NO_HOSTS = NO_TORCHRUN or why_none()


class Launchers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="vernier-launchers-"))
        cls.folder.chmod(0o755)
        (cls.folder / "start.toml").write_text(START)
        start = cls.folder / "start"
        subprocess.run([VERNIER, "train", cls.folder / "start.toml", "--run", start], check=True, capture_output=True)
        cls.config = cls.folder / "job.toml"
        cls.config.write_text(
            JOB.format(
                start=start / "checkpoint-0",
                steps=STEPS,
                deterministic="true",
                rollout="",
                rewards=ACCURACY,
                algo=DRPO,
                trainer="",
                rest="",
            )
        )
        subprocess.run([VERNIER, "train", cls.config, "--run", cls.folder / "alone"], check=True, capture_output=True)
        cls.alone = result_of(cls.folder / "alone", STEPS)
        tools = cls.folder / "bin"
        tools.mkdir()
        torchrun = tools / "torchrun"
        torchrun.write_text(TORCHRUN.format(launchers=LAUNCHERS, deps=DEPS, libraries=torch_libraries()))
        torchrun.chmod(0o755)
        cls.environment = os.environ | {"VERNIER": str(VERNIER), "PATH": f"{tools}:{os.environ['PATH']}"}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def start_script(self, script, run, *options, prefix=(), **environment):
        return subprocess.Popen(
            [*prefix, str(CLUSTER / script), str(self.config), str(self.folder / run), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment | environment,
            cwd=ROOT,
        )

    def finish(self, process, code=0, timeout=180):
        said, _ = process.communicate(timeout=timeout)
        self.assertEqual(process.returncode, code, said)
        return said

    def assert_as_alone(self, run):
        found = result_of(self.folder / run, STEPS)
        for key, value in self.alone.items():
            self.assertTrue(value == found[key], f"{run}: {key} is another than that of one process")

    def wait_for_step(self, run, step):
        wait_for_step(self.folder / run, step, 90)

    def ranks_of(self, run):
        """Process ids by rank of those that train into this folder."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0] != str(VERNIER).encode() or str(self.folder / run).encode() not in words:
                continue
            rank = rank_of(entry.name)
            if rank is not None:
                found.setdefault(rank, int(entry.name))
        return found

    def test_scripts_and_manifest(self):
        scripts = sorted(CLUSTER.glob("*.sh")) + sorted(CLUSTER.glob("*.sbatch"))
        self.assertEqual(len(scripts), 4)
        if shutil.which("shellcheck") is None:
            self.skipTest("shellcheck is not installed (tools/setup launchers)")
        done = subprocess.run(["shellcheck", "-s", "bash", *scripts], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_manifest(self):
        if not (LAUNCHERS / "kubernetes_validate").exists():
            self.skipTest("kubernetes-validate is not installed (tools/setup launchers)")
        done = subprocess.run(
            [sys.executable, "-m", "kubernetes_validate", "--strict", CLUSTER / "kubernetes.yaml"],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(LAUNCHERS)},
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    @unittest.skipIf(NO_TORCHRUN, NO_TORCHRUN)
    def test_torchrun(self):
        for ranks, options in (("2", ()), ("4", ("--set", "trainer.shard=optimizer"))):
            run = f"torchrun-{ranks}"
            said = self.finish(self.start_script("torchrun.sh", run, *options, RANKS=ranks))
            self.assertIn(f"rank 0 of {ranks} (torchrun", said)
            self.assert_as_alone(run)
        keys = ["--set", "rollout.mode=disaggregated", "--set", "rollout.ranks=1"]
        self.finish(self.start_script("torchrun.sh", "torchrun-apart", *keys, RANKS="3"))
        self.assert_as_alone("torchrun-apart")

    @unittest.skipIf(NO_TORCHRUN, NO_TORCHRUN)
    def test_torchrun_starts_a_killed_rank_again(self):
        for victim in (0, 1):
            run = f"restarted-{victim}"
            process = self.start_script("torchrun.sh", run, RANKS="2")
            self.wait_for_step(run, 2)
            os.kill(self.ranks_of(run)[victim], signal.SIGKILL)
            said = self.finish(process)
            self.assertEqual(said.count("rank 0 of 2 (torchrun"), 2, said)
            self.assert_as_alone(run)

    @unittest.skipIf(NO_TORCHRUN, NO_TORCHRUN)
    def test_torchrun_signals(self):
        for number, one in enumerate((signal.SIGTERM, signal.SIGUSR1)):
            run = f"signalled-{number}"
            process = self.start_script("torchrun.sh", run, RANKS="2")
            self.wait_for_step(run, 2)
            process.send_signal(one)
            self.finish(process, code=1)  # whatever the ranks end with
            self.assertTrue((self.folder / run / "REQUEUE").exists())
            self.finish(self.start_script("torchrun.sh", run, RANKS="2"))
            self.assertFalse((self.folder / run / "REQUEUE").exists())
            self.assert_as_alone(run)

    @unittest.skipIf(shutil.which("mpirun") is None, "mpirun is not installed (tools/setup launchers)")
    def test_mpirun(self):
        said = self.finish(self.start_script("mpirun.sh", "mpirun", RANKS="2"))
        self.assertIn("rank 0 of 2 (Open MPI", said)
        self.assert_as_alone("mpirun")

    @unittest.skipIf(NO_HOSTS, NO_HOSTS)
    def test_two_hosts(self):
        hosts = Hosts(f"torchrun-{os.getpid()}")
        try:
            place = dict(NODES="2", RANKS="1", HOST=f"{hosts.addresses[0]}:29400", VERNIER_INTERFACE=hosts.interface)
            for victim in (None, 0, 1):
                run = f"hosts-{victim}"
                processes = [
                    self.start_script("torchrun.sh", run, prefix=("ip", "netns", "exec", name), ADDRESS=address, **place)
                    for name, address in zip(hosts.names, hosts.addresses)
                ]
                if victim is not None:  # the agents count restarts differently
                    self.wait_for_step(run, 2)
                    os.kill(self.ranks_of(run)[victim], signal.SIGKILL)
                said = [self.finish(process) for process in processes]
                self.assertIn("0 of 1 on this machine; store at 10.77.0.", "".join(said))
                self.assert_as_alone(run)
        finally:
            hosts.close()

    @unittest.skipIf(missing(), missing())
    def test_slurm(self):
        slurm = MiniSlurm(self.folder / "slurm")
        try:
            submit = ["sbatch", "--parsable", f"--output={self.folder}/slurm-%j.log"]
            environment = slurm.environment | {"VERNIER": str(VERNIER)}
            done = subprocess.run(
                [*submit, CLUSTER / "slurm.sbatch", self.config, self.folder / "slurm-run"],
                capture_output=True, text=True, env=environment,
            )  # fmt: skip
            self.assertEqual(done.returncode, 0, done.stderr)
            job = done.stdout.strip()
            self.wait_for_step("slurm-run", 2)
            # What --signal=USR1@180 sends to the steps of the job.
            slurm.run("scancel", "--signal=USR1", job)
            log = self.folder / f"slurm-{job}.log"
            slurm.wait_for(lambda: "queued again" in log.read_text(), "the queue", 60)
            self.assertTrue((self.folder / "slurm-run/REQUEUE").exists())

            def state():
                return slurm.run("squeue", "-h", "-j", job, "-o", "%T").stdout.strip()

            slurm.wait_for(lambda: state() != "COMPLETING" and state() != "RUNNING", "the end of the first try")
            # Slurm lets a job that is queued again wait for two minutes. It refuses one that starts in the second
            # in which its last try was taken away, or while a step of that is being cleaned up.
            slurm.run("scontrol", "update", f"jobid={job}", "StartTime=now+8")
            slurm.wait_for(lambda: (self.folder / f"slurm-run/checkpoint-{STEPS}").exists(), "the second try", 120)
            slurm.wait_for(lambda: state() in ("", "COMPLETED"), "the end of the job")
            self.assertIn("rank 0 of 2 (Slurm; store at 127.0.0.1:", log.read_text())
            self.assertFalse((self.folder / "slurm-run/REQUEUE").exists())
            self.assert_as_alone("slurm-run")

            # An array job: one value of a key each.
            done = subprocess.run(
                [*submit, "--array=0-1", CLUSTER / "slurm_sweep.sbatch", self.config, self.folder / "sweep",
                 "algo.lambda", "0.1", "0.2"],
                capture_output=True, text=True, env=environment,
            )  # fmt: skip
            self.assertEqual(done.returncode, 0, done.stderr)
            runs = [self.folder / f"sweep/algo.lambda-{value}" for value in ("0.1", "0.2")]
            for run in runs:
                slurm.wait_for(lambda: (run / f"checkpoint-{STEPS}").exists(), run.name, 120)
            self.assertEqual(metrics_of(runs[0]), self.alone["metrics"])
            self.assertNotEqual(metrics_of(runs[1]), self.alone["metrics"])
        finally:
            slurm.stop()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
