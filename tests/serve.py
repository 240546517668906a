"""The live page: it follows a run as it trains, survives what happens to server and run, and refuses what has no business.

    python3 tests/serve.py BUILD_FOLDER [NAME ...] [--runs RUN...]

Standard library only, beside Debian's chromium and chromium-driver (tools/setup browser).
"""

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess

from browser import wait_until
from page_case import SMOKE, VERNIER, Case, main, run


class Server:
    def __init__(self, *arguments, port=0):
        self.process = subprocess.Popen([str(VERNIER), "serve", *map(str, arguments), "--port", str(port)], stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        self.port = int(re.search(r":(\d+)/", line)[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def get(self, path, headers=None, method="GET", body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            connection.close()

    def report(self):
        return json.loads(self.get("/report.json")[2])

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(timeout=30)
        self.process.stdout.close()


class Live(Case):
    def setUp(self):
        super().setUp()
        self.browser.open("about:blank")  # what is said of servers of other tests is not of this one
        self.browser.log()

    def test_it_follows_a_run_as_it_trains_and_survives_a_restart(self):
        folder = self.folder / "runs/mine"
        short = ["--set", "sft.steps=30", "--set", "data.eval_prompts=20", "--set", "run.eval_every=2"]
        self.assertEqual(run("train", SMOKE, "--run", folder, *short, "--set", "run.steps=2").returncode, 0)
        server = Server(folder.parent)
        self.addCleanup(lambda: server.stop())
        steps = """const place = document.getElementById('accuracy');
            return place.data ? Math.max(...place.data.flatMap((trace) => Array.from(trace.x))) : -1;"""
        self.browser.open(server.url)
        wait_until(lambda: self.browser.run(steps) == 2)
        self.assert_no_errors()
        self.assertEqual(run("train", SMOKE, "--run", folder, *short, "--set", "run.steps=4").returncode, 0)
        wait_until(lambda: self.browser.run(steps) == 4)
        self.assert_no_errors()
        # Killed, and there again on the same port: the page notices both by itself.
        server.stop(signal.SIGKILL)
        wait_until(lambda: "does not answer" in self.browser.run("return document.getElementById('live-state').textContent;"))
        self.assertEqual(run("train", SMOKE, "--run", folder, *short, "--set", "run.steps=6").returncode, 0)
        server = Server(folder.parent, port=server.port)
        wait_until(lambda: self.browser.run(steps) == 6)
        # Moved away: what was read stays, with the reason; and back.
        folder.rename(self.folder / "elsewhere")
        wait_until(lambda: "no run is here yet" in self.browser.run("return document.getElementById('live-state').textContent;"))
        self.assertEqual(self.browser.run(steps), 6)
        (self.folder / "elsewhere").rename(folder)
        wait_until(lambda: "Live" in self.browser.run("return document.getElementById('live-state').textContent;"))
        # A torn row is a row that is being written.
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"step": 7, "phase"')
        wait_until(lambda: "torn" in self.browser.run("return document.getElementById('notes').textContent;"))
        self.assert_no_errors("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "Failed to load resource")
        shown = self.browser.run("return document.querySelectorAll('pre.response').length;")
        self.assertEqual(shown, 8)

    def test_names_are_names_and_one_bad_run_leaves_the_others(self):
        name = "<img src=x onerror=window.owned=1>"
        shutil.copytree(self.runs[0], self.folder / name)
        config = self.folder / name / "config.toml"
        config.write_text(config.read_text() + "\n# </pre><script>window.owned=1</script>\n")
        bad = self.folder / "bad"
        bad.mkdir()
        (bad / "metrics.jsonl").write_text('{"step": "one"}\n')
        server = Server(self.folder, self.folder / name)
        self.addCleanup(server.stop)
        self.browser.open(server.url)
        wait_until(lambda: self.browser.run("return document.querySelectorAll('#summary-rows tr').length;") == 1)
        wait_until(lambda: self.browser.run("return document.querySelectorAll('pre.response').length;") == 8)
        shown = self.browser.run("return [document.querySelector('#summary-rows th').textContent, window.owned ?? 0, "
                                 "document.getElementById('notes').textContent, document.getElementById('configs').textContent];")
        self.assertEqual(shown[0], name)
        self.assertEqual(shown[1], 0)
        self.assertIn("bad: is left out: ", shown[2])
        self.assertIn("</pre><script>", shown[3])
        self.assert_no_errors()

    def test_its_numbers_are_the_reports(self):
        server = Server(*self.runs)
        self.addCleanup(server.stop)
        found = wait_until(lambda: (page := server.report())["version"] and page)
        wanted = json.loads(run("report", *self.runs, "--json").stdout)
        for one in wanted["runs"]:
            del one["samples"]["groups"]  # which the page asks for
        self.assertEqual(found["data"], wanted)
        for step in found["data"]["runs"][0]["stored_steps"]:
            status, _, body = server.get(f"/samples?run=drpo&step={step}&from=3&count=2")
            self.assertEqual(status, 200)
            self.assertEqual([len(group["samples"]) for group in json.loads(body)["groups"]], [8, 8])
        for query, status in (("run=no&step=2&from=0&count=1", 404), ("run=drpo&step=1&from=0&count=1", 404),
                              ("run=drpo&step=2&from=0&count=1000", 400), ("run=drpo", 400),
                              ("run=..%2f..&step=2&from=0&count=1", 404), ("run=%zz&step=2&from=0&count=1", 400)):
            self.assertEqual(server.get("/samples?" + query)[0], status, query)

    def test_what_has_no_business_here_is_refused(self):
        server = Server(self.runs[0])
        self.addCleanup(server.stop)
        for path in ("/nothing", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/metrics.jsonl", "/events/", "//", "/report.json/x"):
            self.assertEqual(server.get(path)[0], 404, path)
        for method in ("POST", "PUT", "DELETE"):
            self.assertEqual(server.get("/", method=method, body="x")[0], 405)
        self.assertEqual(server.get("/", {"Host": "evil.example"})[0], 421)
        self.assertEqual(server.get("/", {"Host": "localhost:99"})[0], 200)
        self.assertEqual(server.get("/", {"Host": "127.0.0.1"})[0], 200)
        self.assertEqual(server.get("/report.json", {"Sec-Fetch-Site": "cross-site"})[0], 403)
        self.assertEqual(server.get("/", {"X": "y" * 100_000})[0], 431)
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(b"\x16\x03\x01 not HTTP\r\n\r\n")
            self.assertIn(b"400", raw.recv(1000))
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
        self.addCleanup(lambda: [one.close() for one in idle])
        self.assertEqual(server.get("/")[0], 200)
        self.assertIsNotNone(wait_until(lambda: server.report()["version"]))
        before = sorted((path, path.stat().st_mtime_ns) for path in self.runs[0].rglob("*"))
        self.assertEqual(server.get("/report.json", method="HEAD")[2], b"")
        self.assertEqual(sorted((path, path.stat().st_mtime_ns) for path in self.runs[0].rglob("*")), before)
        self.assertEqual(run("serve", self.folder / "no").returncode, 2)
        done = run("serve", self.runs[0], "--host", "0.0.0.0")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--token-file", done.stderr)

    def test_a_token_is_given_once(self):
        token = self.folder / "token"
        token.write_text("s3cret+/=\n")
        server = Server(self.runs[0], "--token-file", token)
        self.addCleanup(server.stop)
        for path in ("/", "/report.json", "/events", "/report.js", "/nothing"):
            self.assertEqual(server.get(path)[0], 401, path)
        self.assertEqual(server.get("/?token=wrong")[0], 401)
        self.assertEqual(server.get("/report.json?token=s3cret%2B%2F%3D")[0], 401)
        status, headers, _ = server.get("/?token=s3cret%2B%2F%3D")
        self.assertEqual((status, headers["Location"]), (303, "/entered"))
        cookie = headers["Set-Cookie"]
        self.assertIn("; HttpOnly; SameSite=Strict; Path=/", cookie)
        self.assertNotIn("s3cret", cookie)
        pair = cookie.split(";")[0]
        self.assertEqual(server.get("/report.json", {"Cookie": f"a=b; {pair}"})[0], 200)
        self.assertEqual(server.get("/report.json", {"Cookie": pair[:-1] + ("0" if pair[-1] != "0" else "1")})[0], 401)
        self.assertEqual(server.get("/report.json", {"Authorization": "Bearer s3cret+/="})[0], 200)
        self.assertEqual(server.get("/report.json", {"Authorization": "Bearer s3cret"})[0], 401)
        self.browser.open(f"{server.url}/?token=s3cret%2B%2F%3D")
        wait_until(lambda: self.browser.run("return document.querySelectorAll('#summary-rows tr').length;") == 1)
        self.assertNotIn("token", self.browser.run("return location.href;"))
        self.assert_no_errors()

    def test_a_stream_goes_on_where_it_was(self):
        server = Server(self.runs[0])
        self.addCleanup(server.stop)
        version = wait_until(lambda: server.report()["version"])

        def first_of(headers):
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
                lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                raw.sendall(f"GET /events HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode())
                raw.settimeout(2)
                text = b""
                try:
                    while b"\n\n" not in text.partition(b"\r\n\r\n")[2]:
                        text += raw.recv(4096)
                except TimeoutError:
                    pass
                return text.decode()

        fresh = first_of({})
        self.assertIn("text/event-stream", fresh)
        self.assertIn(f"id: {version}\nretry: 2000\nevent: report\n", fresh)
        self.assertNotIn("event: report", first_of({"Last-Event-ID": version}))
        self.assertIn("event: report", first_of({"Last-Event-ID": "1"}))


if __name__ == "__main__":
    main()
