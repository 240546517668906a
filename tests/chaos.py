"""Faults at random times: what tools/chaos runs. Standard library only."""

import argparse
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from namespaces import Hosts, why_none
from ranks import ACCURACY, DRPO, JOB, START, local_ranks, result_of
from workers import Worker, address_of, without_workers

ROOT = pathlib.Path(__file__).resolve().parent.parent
STEPS = 8
STEPS_WITH_WORKERS = 120
DEADLINE = 5  # cluster.deadline_s of JOB
START_DEADLINE = 15
LAST = 30  # what --nproc leaves the last ranks of a job that is over
# Until the survivors have ended: ticks of a second, what the store is given to be read, and --nproc's grace.
GRACE = 12


# Who it was, or that the store of rank 0 is silent.
CAUSE = re.compile(
    r"rank \d+ (\(.*\) )?(was killed by|gives no sign of life|is stuck|is still there)"
    r"|the store .*(has not answered|is gone)|have not answered|have not been connected to"
    r"|does not reach the (store|other ranks)|did not come within|cannot be reached"
)


class Failed(Exception):
    pass


class Job:
    """One start of a job: its processes, by rank."""

    def __init__(self, command, hosts=None):
        self.hosts = hosts
        if hosts is None:
            self.processes = [self.start(command)]
        else:
            place = {"WORLD_SIZE": "2", "MASTER_ADDR": hosts.addresses[0], "MASTER_PORT": "29477"}
            options = ["--set", f"cluster.interface={hosts.interface}"]
            self.processes = [
                self.start(["ip", "netns", "exec", name, *command, *options], place | {"RANK": str(rank)})
                for rank, name in enumerate(hosts.names)
            ]

    @staticmethod
    def start(command, environment={}):
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | environment
        )

    def running(self):
        return any(process.poll() is None for process in self.processes)

    def ranks(self):
        """Process ids by rank, of those that are there."""
        if self.hosts is not None:
            return {rank: process.pid for rank, process in enumerate(self.processes)}
        return local_ranks(self.processes[0].pid)

    def end(self, seconds):
        """Codes and what was said; Failed where a process is still there after so many seconds."""
        until = time.time() + seconds
        codes, said = [], ""
        for process in self.processes:
            try:
                _, text = process.communicate(timeout=max(0.1, until - time.time()))
            except subprocess.TimeoutExpired:
                self.kill()
                raise Failed(f"still running {seconds} s after the fault") from None
            codes.append(process.returncode)
            said += text
        return codes, said

    def kill(self):
        for pid in self.ranks().values():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        for process in self.processes:
            process.kill()
            process.wait()


def left_behind(run):
    """Processes that still work on this run folder."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if str(run).encode() in words and state != "Z":
            found.append(int(entry.name))
    return found


class Chaos:
    def __init__(self, options):
        self.vernier = pathlib.Path(options.build).resolve() / "vernier"
        self.random = random.Random(options.seed)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vernier-chaos-"))
        (self.folder / "start.toml").write_text(START)
        start = self.folder / "start"
        self.run_to_end(["train", self.folder / "start.toml", "--run", start])
        self.config = self.folder / "job.toml"
        text = JOB.format(
            start=start / "checkpoint-0", steps=STEPS, deterministic="true", rollout="", rewards=ACCURACY, algo=DRPO, trainer="", rest=""
        )
        self.config.write_text(text)
        began = time.time()
        self.run_to_end(["train", self.config, "--run", self.folder / "undisturbed", "--nproc", "2"])
        self.seconds = time.time() - began
        self.expected = result_of(self.folder / "undisturbed", STEPS)
        longer = ["--set", f"run.steps={STEPS_WITH_WORKERS}", "--set", "run.save_every=0"]
        self.longer = [*longer, "--set", "run.eval_every=0"]
        began = time.time()
        self.run_to_end(["train", self.config, "--run", self.folder / "undisturbed-longer", *self.longer])
        self.seconds_longer = time.time() - began
        self.expected_longer = self.longer_result(self.folder / "undisturbed-longer")
        self.secret = self.folder / "secret"
        self.secret.write_text("0123456789abcdef0123456789abcdef\n")
        self.secret.chmod(0o600)

    @staticmethod
    def longer_result(run):
        (run / f"eval/step_{STEPS_WITH_WORKERS}.jsonl").parent.mkdir(exist_ok=True)
        (run / f"eval/step_{STEPS_WITH_WORKERS}.jsonl").touch()  # there is no evaluation
        return without_workers(result_of(run, STEPS_WITH_WORKERS))

    def staleness(self):
        """What rollout.max_staleness is this time, and the words that ask for it."""
        steps = self.random.choice([0, 1, 2])
        return steps, ["--set", f"rollout.max_staleness={steps}", "--set", "run.deterministic=false"] if steps else []

    @staticmethod
    def hold_to(expected, found, staleness):
        """Failed unless a job came to what an undisturbed one comes to."""
        if staleness == 0:
            for key, value in expected.items():
                if value != found[key]:
                    raise Failed(f"{key} is not that of an undisturbed job")
            return
        # What is drawn ahead hangs on who was fast; that each response was trained on once, and when, does not.
        place = lambda result: [[(row["problem"], row["sample"]) for row in rows] for rows in result["rollouts"]]
        if place(found) != place(expected):
            raise Failed("the responses are not those, one for one, that an undisturbed job trains on")
        steps = lambda result: [row["step"] for row in result["metrics"] if row["phase"] == "rl"]
        if steps(found) != steps(expected):
            raise Failed(f"the steps are {steps(found)}")
        for step, rows in enumerate(found["rollouts"], 1):
            for row in rows:
                tokens = sum(count for _, count in row["versions"])
                ages = [step - 1 - version for version, _ in row["versions"]]
                if tokens != row["num_tokens"] or not 0 <= min(ages, default=0) <= max(ages, default=0) <= staleness:
                    raise Failed(f"step {step}, at most {staleness} old: {row['num_tokens']} tokens of the versions {row['versions']}")

    def run_to_end(self, arguments):
        subprocess.run([str(word) for word in [self.vernier, *arguments]], check=True, capture_output=True)

    def worker_round(self, number, fault):
        """Something happens to one of three workers; the job goes on to the end of one that has none."""
        moment = self.random.uniform(0, 1.5 * self.seconds_longer)
        ranks = self.random.choice([1, 1, 2]) if fault != "cut worker" else 1
        run = self.folder / f"round-{number}"
        staleness, ahead = self.staleness()
        what = f"round {number}: {fault}, one of 3 that draw for {ranks} ranks, staleness {staleness}, after {moment:.2f} s"
        hosts = Hosts(f"chaos-{os.getpid()}-{number}") if fault == "cut worker" else None
        at = hosts.addresses[0] if hosts else "127.0.0.1"
        inside = (lambda name: ("ip", "netns", "exec", name)) if hosts else (lambda name: ())
        keys = [f"cluster.workers.listen={at}:0", f"cluster.workers.secret={self.secret}", "cluster.workers.at_start=1"]
        keys += [f"cluster.interface={hosts.interface}"] if hosts else []
        words = [self.vernier, "train", self.config, "--run", run, *self.longer, *ahead]
        words += [word for key in keys for word in ("--set", key)]
        words += ["--nproc", ranks] if ranks > 1 else []
        log = self.folder / f"round-{number}.log"
        workers = []
        try:
            with open(log, "w") as out:
                job = subprocess.Popen([*inside(hosts.names[0] if hosts else ""), *map(str, words)], stderr=out)
            address = address_of(log)
            for i in range(3):
                more = ("--interface", hosts.interface) if hosts else ()
                name = hosts.names[1 if i == 0 else 0] if hosts else ""
                path = self.folder / f"round-{number}-{i}.log"
                workers.append(Worker(address, self.secret, path, *more, prefix=inside(name), program=self.vernier))
            time.sleep(moment)
            over = job.poll() is not None
            if hosts and not over:
                hosts.cut()
            elif not over:
                workers[0].send(signal.SIGKILL if fault == "kill worker" else signal.SIGSTOP)
            try:
                # The job may wait for the one that is silent as long as the deadline, and once for each step
                # that it sends weights in before it is known to be gone.
                code = job.wait(timeout=3 * DEADLINE + 60)
            except subprocess.TimeoutExpired:
                job.kill()
                raise Failed(f"the job is still running:\n{log.read_text()}") from None
            if code != 0:
                raise Failed(f"the job ended with {code}:\n{log.read_text()}")
            self.hold_to(self.expected_longer, self.longer_result(run), staleness)
            drawn = sum(row["workers/groups"] for row in result_of(run, STEPS_WITH_WORKERS)["metrics"] if row["phase"] == "rl")
            for one in workers[1:]:
                # One that was still starting when the job was over finds nobody.
                late = re.search("cannot be reached|no job of Vernier greets", one.log.read_text())
                if one.end() != 0 and not late:
                    raise Failed(f"a worker that nothing was done to ended otherwise:\n{one.log.read_text()}\n{log.read_text()}")
            print(f"{what}: {'it was over' if over else 'went on to the same end'}, {drawn} groups came from workers", flush=True)
            return 0
        except (Failed, AssertionError) as problem:
            print(f"{what}: FAILED: {problem}", flush=True)
            raise Failed from problem
        finally:
            job.kill()
            job.wait()
            for one in workers:
                one.kill()
            if hosts is not None:
                hosts.close()

    def command(self, run, ranks, sampling, shard, ahead, launch):
        words = [self.vernier, "train", self.config, "--run", run, "--set", f"trainer.shard={shard}", *ahead]
        words += ["--set", f"cluster.start_deadline_s={START_DEADLINE}"]
        if sampling:
            words += ["--set", "rollout.mode=disaggregated", "--set", f"rollout.ranks={sampling}"]
        if launch:
            words += ["--nproc", ranks]
        return [str(word) for word in words]

    def round(self, number, fault):
        ranks, sampling = (2, 0) if fault == "cut" else self.random.choice([(2, 0), (4, 0), (2, 1), (3, 2), (4, 3)])
        shard = self.random.choice(["none", "optimizer", "full"])
        moment = self.random.uniform(0, 1.2 * self.seconds)
        victim = self.random.randrange(ranks)
        run = self.folder / f"round-{number}"
        staleness, ahead = self.staleness()
        what = (
            f"round {number}: {fault}, rank {victim} of {ranks}, {sampling} only sample, shard {shard}, staleness {staleness}, "
            f"after {moment:.2f} s"
        )
        hosts = Hosts(f"chaos-{os.getpid()}-{number}") if fault == "cut" else None
        try:
            job = Job(self.command(run, ranks, sampling, shard, ahead, hosts is None), hosts)
            time.sleep(moment)
            hit = self.inject(job, fault, victim)
            began = time.time()
            over = (run / f"checkpoint-{STEPS}").exists()
            met = (run / "metrics.jsonl").exists()
            limit = (LAST if over else DEADLINE if met else START_DEADLINE) + GRACE
            codes, said = job.end(limit if hit else 60)
            took = time.time() - began
            if hosts is not None:
                hosts.heal()
            left = left_behind(run)
            if left:
                raise Failed(f"processes are left: {left}")
            if any(codes):
                if not hit:
                    raise Failed(f"ended with {codes} before anything was done to it:\n{said}")
                if not CAUSE.search(said):
                    raise Failed(f"ended with {codes} and names no cause:\n{said}")
                again = Job(self.command(run, ranks, sampling, shard, ahead, hosts is None), hosts)
                codes_again, said_again = again.end(120)
                if any(codes_again):
                    raise Failed(f"started again it ended with {codes_again}:\n{said_again}")
            self.hold_to(self.expected, result_of(run, STEPS), staleness)
            print(f"{what}: {'ended in %.1f s, then went on to the same end' % took if any(codes) else 'ran to its end: nobody was there to be hit, or it was over'}", flush=True)
            return took if any(codes) else 0
        except Failed as problem:
            print(f"{what}: FAILED: {problem}", flush=True)
            raise
        finally:
            if hosts is not None:
                hosts.close()

    @staticmethod
    def inject(job, fault, victim):
        """Whether there was still somebody to do it to."""
        if not job.running():
            return False
        if fault == "cut":
            job.hosts.cut()
            return True
        pid = job.ranks().get(victim)
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGKILL if fault == "kill" else signal.SIGSTOP)
        except OSError:
            return False
        return True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--build", default=str(ROOT / "build/release"))
    options = parser.parse_args()
    faults = ["kill", "kill worker", "stop", "stop worker"]
    if why_none():
        print(f"links are not cut: {why_none()}")
    else:
        faults += ["cut", "cut worker"]
    chaos = Chaos(options)
    slowest = dict.fromkeys(faults, 0.0)
    try:
        for number in range(options.rounds):
            fault = faults[number % len(faults)]
            body = chaos.worker_round if fault.endswith("worker") else chaos.round
            slowest[fault] = max(slowest[fault], body(number, fault))
    except Failed:
        print(f"what is left of it: {chaos.folder}")
        return 1
    shutil.rmtree(chaos.folder)
    print(
        f"{options.rounds} rounds: every job ended in time and went on to the end of an undisturbed one; slowest end: "
        + ", ".join(f"{fault} {seconds:.1f} s" for fault, seconds in slowest.items() if not fault.endswith("worker"))
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
