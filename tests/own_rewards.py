"""Rewards from outside in training: the same curve as the built-in one, and faults that cost nothing but
the responses they meet.

    python3 tests/own_rewards.py BUILD_FOLDER [NAME ...]

Standard library only; a C compiler builds the library.
"""

import collections
import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import zlib

from stored_rows import rows_of, unpacked

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "build/release"
VERNIER = BUILD / "vernier"
CASES = ROOT / "tests/cases/outside/train"
STEPS = 12

JOB = """
[run]
seed = 9
steps = {steps}
threads = 1

[model]
path = "{start}"

[data]
task = "chain_sum"

[data.chain_sum]
max_terms = 3

[rollout]
num_generations = 8
prompts_per_step = 4
max_completion_length = 60
think_end = "#"

{rewards}

[algo]
type = "grpo"
epsilon_high = 0.28

[trainer]
learning_rate = 2e-4
betas = [0.9, 0.95]

[log.rollouts]
every = 1
token_fields = true
"""
BUILT_IN = '[[reward]]\ntype = "length_penalty"\nname = "penalty"\nalpha = 1\nreference_length = 100'


def right(response, row):
    found = re.fullmatch(r"[^#]*#(\d)\.", response["text"])
    return float(bool(found) and found[1] == row["answer"])


class Server(http.server.ThreadingHTTPServer):
    """Scores as penalty.py does; what `fault` gives for a text happens in place of that."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, fault=lambda text: None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.fault = fault
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/score"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fault = self.server.fault(request["responses"][0]["text"])
        if fault == "late":
            time.sleep(2)
        rewards = [{"score": right(one, request["row"]) - 1.0 * one["num_tokens"] / 100}
                   for one in request["responses"]]
        body = json.dumps({"id": request["id"], "rewards": rewards}).encode()
        self.send_response(500 if fault == "500" else 200)
        self.send_header("Content-Length", str(len(body)))
        try:
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # nobody waits for what comes late
            self.close_connection = True

    def log_message(self, *_):
        pass


def run(*arguments, timeout=600):
    return subprocess.run([str(VERNIER), *map(str, arguments)], capture_output=True, text=True,
                          timeout=timeout, cwd=ROOT)


def children():
    """Command lines of processes that run one of our rewards."""
    out = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(CASES) in line and str(os.getpid()) != path.parent.name:
            out.append(line)
    return out


class OwnRewards(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="vernier-own-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.start = cls.folder / "start/checkpoint-0"
        done = run("train", "configs/smoke.toml", "--set", "run.steps=0", "--set", "run.eval_every=0",
                   "--run", cls.start.parent)
        assert done.returncode == 0, done.stderr[-2000:]
        library = cls.folder / "penalty.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-I", ROOT, "-o", library, CASES / "penalty.c"], check=True)
        cls.library = library

    def train(self, name, rewards, code=0, steps=STEPS):
        folder = self.folder / name
        if not folder.exists():
            config = self.folder / f"{name}.toml"
            config.write_text(JOB.format(steps=steps, start=self.start, rewards=rewards))
            begin = time.monotonic()
            done = run("train", config, "--run", folder)
            self.assertEqual(done.returncode, code, done.stderr[-3000:])
            self.seconds, self.said = time.monotonic() - begin, done.stderr
            self.assertEqual(children(), [])
        return folder

    def same_curve(self, name, rewards):
        """Every number of every step and every bit of the weights."""
        built_in, own = self.train("built-in", BUILT_IN), self.train(name, rewards)
        weights = [(folder / f"checkpoint-{STEPS}/model.safetensors").read_bytes() for folder in (built_in, own)]
        self.assertEqual(*weights)
        extra = re.compile(r"^(time|perf|memory)/|^rewards/penalty/(?!mean|std)")
        rows = [[{key: value for key, value in row.items() if not extra.match(key)}
                 for row in rows_of((folder / "metrics.jsonl").read_text())] for folder in (built_in, own)]
        self.assertEqual(*rows)
        self.assertEqual(len(rows[0]), STEPS)

    def test_a_program(self):
        command = json.dumps(["python3", str(CASES / "penalty.py")])
        self.same_curve("program", f'[[reward]]\ntype = "program"\nname = "penalty"\ncommand = {command}')

    def test_a_library(self):
        for name, hosted in (("library", "true"), ("library-within", "false")):
            self.same_curve(name, f'[[reward]]\ntype = "library"\nname = "penalty"\npath = "{self.library}"\n'
                                  f'hosted = {hosted}')

    def test_a_url(self):
        server = Server()
        self.addCleanup(server.close)
        self.same_curve("url", f'[[reward]]\ntype = "url"\nname = "penalty"\nurl = "{server.url}"')

    def drill(self, name, reward, cause, deadline):
        """Two steps with faults: they end in time, count them, and learn as if those responses were not there."""
        folder = self.train(name, f'[[reward]]\ntype = "accuracy"\n\n{reward}\nmax_failed_share = 1', steps=2)
        rows = rows_of((folder / "metrics.jsonl").read_text())
        kept = []
        for step in (1, 2):
            stored = rows_of(unpacked(folder / f"rollouts/step_{step}.jsonl.zst"))
            missing = [row for row in stored if row["reward"] is None]
            self.assertGreater(len(missing), 0)
            self.assertLess(len(missing), len(stored))
            for row in missing:
                self.assertTrue(row["abstained"]["judge"].startswith(cause), row["abstained"])
            self.assertEqual(rows[step - 1][f"rewards/judge/failed/{cause}"], len(missing))
            self.assertEqual(rows[step - 1]["samples/abstained"], len(missing))
            self.assertLess(rows[step - 1]["time/step"], deadline + 8)
            kept += [row for row in stored if row["reward"] is not None]
        # The only response of its group has its reward as advantage, the only one of eight that has a reward has 0.
        left = collections.Counter((row["step"], row["group"]) for row in kept)
        if 1 in left.values():
            return
        ledger = self.folder / f"{name}.jsonl"
        ledger.write_text("".join(json.dumps(row) + "\n" for row in kept))
        again = self.folder / f"{name}-again"
        done = run("replay", self.folder / f"{name}.toml", "--rollouts", ledger, "--run", again)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        weights = [(one / "checkpoint-2/model.safetensors").read_bytes() for one in (folder, again)]
        self.assertEqual(*weights)

    def program(self, fault, deadline):
        command = json.dumps(["python3", str(CASES / "faulty.py"), fault])
        return (f'[[reward]]\ntype = "program"\nname = "judge"\ncommand = {command}\ncopies = 8\n'
                f'deadline_s = {deadline}')

    def test_it_sleeps(self):
        self.drill("sleep", self.program("sleep", 15), "timeout", 15)

    def test_it_answers_late(self):
        self.drill("late", self.program("late", 3) + "\ncall_s = 1", "timeout", 3)

    def test_it_dies(self):
        self.drill("die", self.program("die", 20), "died", 20)

    def test_it_answers_garbage(self):
        self.drill("garbage", self.program("garbage", 20), "garbage", 20)

    def test_it_answers_nan(self):
        self.drill("nan", self.program("nan", 20), "nan", 20)

    def test_it_answers_too_few(self):
        self.drill("few", self.program("few", 20), "count", 20)

    def url(self, fault, deadline):
        server = Server(lambda text: fault if zlib.crc32(text.encode()) % 4 == 0 else None)
        self.addCleanup(server.close)
        return f'[[reward]]\ntype = "url"\nname = "judge"\nurl = "{server.url}"\ndeadline_s = {deadline}'

    def test_it_answers_500(self):
        self.drill("500", self.url("500", 20) + "\nretries = 1", "http 500", 20)

    def test_a_url_answers_late(self):
        self.drill("url-late", self.url("late", 1), "timeout", 1)

    def test_the_budget_ends_the_run(self):
        self.train("budget", '[[reward]]\ntype = "accuracy"\n\n' + self.program("nan", 20) +
                   "\nmax_failed_share = 0.1\nfailure_window = 40", code=1)
        self.assertIn("reward.judge: ", self.said)
        self.assertIn("(nan ", self.said)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=1)
