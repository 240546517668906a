"""The report as a reader sees it, in a browser: its charts, its sliders, and the live page as a run trains.

    python3 tests/page.py BUILD_FOLDER [--screenshots FOLDER] [NAME ...]

Standard library only, beside Debian's chromium and chromium-driver (tools/setup browser).
"""

import http.client
import json
import math
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import unittest

from browser import Browser, wait_until

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "build/release"
VERNIER = BUILD / "vernier"
SMOKE = ROOT / "configs/smoke.toml"
# From the start policy of SMOKE, by a penalty on length, and no transform that cuts.
PENALTY = """
[run]
seed = 2
steps = 12
eval_every = 6
threads = 1

[model]
path = "{start}"

[data]
task = "chain_sum"
eval_prompts = 100

[data.chain_sum]
max_terms = 3

[rollout]
num_generations = 8
prompts_per_step = 12
max_completion_length = 60
think_end = "#"

[[reward]]
type = "length_penalty"
form = "subtract"
alpha = 1
reference_length = 60

[algo]
type = "grpo"

[trainer]
learning_rate = 2e-4

[log.rollouts]
token_fields = true
"""


def run(*arguments, timeout=600):
    return subprocess.run([str(VERNIER), *map(str, arguments)], capture_output=True, text=True, timeout=timeout, cwd=ROOT)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().split("\n") if line]


class Case(unittest.TestCase):
    runs = None
    screenshots = None

    @classmethod
    def setUpClass(cls):
        """Two short runs from one start, with everything that a report can show."""
        if Case.runs is None:
            folder = pathlib.Path(tempfile.mkdtemp(prefix="vernier-page-"))
            unittest.addModuleCleanup(shutil.rmtree, folder, ignore_errors=True)
            more = ["--set", "eval.budgets=[4, 8, 16, 60]", "--set", "eval.n=2", "--set", "log.rollouts.every=2"]
            done = run("train", SMOKE, "--run", folder / "drpo", *more)
            assert done.returncode == 0, done.stderr[-3000:]
            config = folder / "penalty.toml"
            config.write_text(PENALTY.format(start=folder / "drpo/checkpoint-0"))
            done = run("train", config, "--run", folder / "penalty", *more)
            assert done.returncode == 0, done.stderr[-3000:]
            Case.runs = [folder / "drpo", folder / "penalty"]
            Case.browser = Browser()
            unittest.addModuleCleanup(Case.browser.close)

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vernier-page-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def assert_no_errors(self, *allowed):
        bad = [one["message"] for one in self.browser.log() if one["level"] == "SEVERE" and
               not any(part in one["message"] for part in allowed)]
        self.assertEqual(bad, [])

    def assert_near(self, one, other, what=""):
        if one is None or other is None:
            return self.assertEqual(one, other, what)
        self.assertTrue(math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9), f"{what}: {one} is not {other}")


def quantile(values, share):
    values = sorted(values)
    place = share * (len(values) - 1)
    low = math.floor(place)
    return values[low] + (place - low) * (values[min(low + 1, len(values) - 1)] - values[low])


def mean(values):
    return statistics.fmean(values) if values else None


class Report(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.page = cls.runs[0].parent / "report.html"
        done = run("report", *cls.runs, "--out", cls.page)
        assert done.returncode == 0, done.stderr
        cls.json = json.loads(run("report", *cls.runs, "--json").stdout)
        cls.browser.open(cls.page.as_uri())

    def test_the_page_holds_the_json(self):
        held = self.browser.run("return JSON.parse(document.getElementById('report-data').textContent);")
        self.assertEqual(held, self.json)
        self.assert_no_errors()

    def test_charts_show_the_json(self):
        runs = self.json["runs"]
        accuracy = {trace["name"]: trace for trace in self.browser.chart("accuracy") if trace["high"] is not None}
        for one in runs:
            rows = one["checkpoints"]
            self.assertEqual(accuracy[one["name"]]["x"], [row["step"] for row in rows])
            self.assertEqual(accuracy[one["name"]]["y"], [row["accuracy"] for row in rows])
            for row, high in zip(rows, accuracy[one["name"]]["high"]):
                self.assert_near(row["accuracy"] + high, row["accuracy_high"])
        fan = {trace["name"]: trace for trace in self.browser.chart("fan")}
        budgets = {trace["name"]: trace for trace in self.browser.chart("budgets")}
        pushes = {trace["name"]: trace for trace in self.browser.chart("pushes")}
        optimum = {trace["name"]: trace for trace in self.browser.chart("optimum")}
        timings = {trace["name"]: trace for trace in self.browser.chart("timings")}
        difficulty = {trace["name"]: trace for trace in self.browser.chart("difficulty")}
        for one in runs:
            for key in ("p10", "p25", "p50", "p75", "p90"):
                self.assertEqual(fan[f"{one['name']} {key}"]["y"], one["fan"][key])
            last = one["checkpoints"][-1]
            self.assertEqual(budgets[f"{one['name']} step {last['step']}"]["y"], [row["accuracy"] for row in last["budgets"]])
            self.assertEqual(pushes[one["name"]]["y"], [row["share"] for row in one["pushes"]["steps"]])
            self.assertEqual(optimum[f"{one['name']} mean length"]["y"], [row["mean_length"] for row in one["optima"]])
            self.assertEqual(timings[f"{one['name']} sampling"]["y"], one["timings"]["rollout"])
            for band in one["difficulty"]["bands"]:
                for title, key in (("accuracy", "accuracy"), ("mean length", "mean_length")):
                    self.assertEqual(difficulty[f"{one['name']} {title} {band['label']}"]["y"],
                                     [point[key] for point in band["points"]])
        pairs = self.browser.chart("pairs")
        pair = self.json["pairs"]["pairs"][0]
        self.assert_near(pairs[0]["x"][0], 100 * pair["accuracy_difference"])
        self.assert_near(pairs[1]["x"][0], 100 * (pair["length_ratio"] - 1))
        self.assert_no_errors()

    def test_numbers_are_those_of_the_files(self):
        """Everything again, from the files, in Python."""
        for folder, one in zip(self.runs, self.json["runs"]):
            metrics = lines_of(folder / "metrics.jsonl")
            rl = [row for row in metrics if row["phase"] == "rl"]
            evaluations = {row["step"]: row for row in metrics if row["phase"] == "eval"}
            tallies = {}
            for checkpoint in one["checkpoints"]:
                rows = lines_of(folder / f"eval/step_{checkpoint['step']}.jsonl")
                self.assert_near(checkpoint["accuracy"], mean([row["correct"] for row in rows]))
                self.assert_near(checkpoint["mean_length"], mean([row["num_tokens"] for row in rows]))
                for point in checkpoint["budgets"]:
                    stated = evaluations[checkpoint["step"]]
                    self.assertEqual(point["accuracy"], stated[f"eval/budget/{point['budget']}/accuracy"])
                    lengths = [min(row["num_tokens"], point["budget"]) for row in rows]
                    self.assert_near(point["mean_length"], mean(lengths))
                tallies[checkpoint["step"]] = rows
            # Bands: prompts of one difficulty, the same at every step.
            hardness = {row["group"]: row["difficulty"] for row in tallies[0]}
            for band in one["difficulty"]["bands"]:
                ends = [float(part) for part in re.findall(r"\d+(?:\.\d+)?", band["label"])]
                members = {group for group, value in hardness.items() if ends[0] <= value <= ends[-1]}
                self.assertEqual(band["num_prompts"], len(members))
                for point in band["points"]:
                    rows = [row for row in tallies[point["step"]] if row["group"] in members]
                    self.assert_near(point["accuracy"], mean([row["correct"] for row in rows]))
                    self.assert_near(point["mean_length"], mean([row["num_tokens"] for row in rows]))
            # Sampled lengths of each stored step.
            for k, step in enumerate(one["fan"]["step"]):
                lengths = [int(line.split("\t")[0]) for line in (folder / f"rollouts/step_{step}.idx").read_text().splitlines()[1:]]
                for key in ("p10", "p25", "p50", "p75", "p90"):
                    self.assert_near(one["fan"][key][k], quantile(lengths, int(key[1:]) / 100), key)
            # Times of the phases, and what is left.
            timings = one["timings"]
            for k, row in enumerate(rl):
                self.assert_near(timings["rollout"][k], row["time/rollout"])
                parts = sum(row[f"time/{name}"] for name in ("rollout", "score", "credit", "update"))
                self.assert_near(timings["other"][k], max(0, row["time/step"] - parts))
            first = rl[0]["completions/mean_length"]
            self.assert_near(timings["saved_s"], sum(row["time/rollout"] * (first / row["completions/mean_length"] - 1) for row in rl))
            # Area under the frontier of the evaluations.
            points = sorted((row["mean_length"], row["accuracy"]) for row in one["checkpoints"])
            short, long = self.json["shortest"], self.json["longest"]
            area, best = 0, 0
            for k, (length, accuracy) in enumerate(points):
                best = max(best, accuracy)
                begin, end = max(length, short), points[k + 1][0] if k + 1 < len(points) else long
                area += best * max(0, math.log2(end) - math.log2(begin)) if end > begin else 0
            self.assert_near(one["area"], area / math.log2(long / short), "area")
            self.assertLessEqual(one["area_low"], one["area"])
            self.assertGreaterEqual(one["area_high"], one["area"])
        # What length pushes: what score gives the same responses if all of a group are equally long.
        folder, one = self.runs[1], self.json["runs"][1]
        for row in one["pushes"]["steps"]:
            rows = run("score", folder / "config.toml", "--rollouts", folder / f"rollouts/step_{row['step']}.jsonl.zst", "--out", "-")
            rows = [json.loads(line) for line in rows.stdout.splitlines()]
            groups = {}
            for line in rows:
                groups.setdefault(line["group"], []).append(line["num_tokens"])
            level = self.write("level.jsonl", "".join(json.dumps(
                {key: value for key, value in line.items() if key not in ("response_ids", "logprobs", "prompt_ids", "forced", "raw_num_tokens")}
                | {"num_tokens": math.floor(mean(groups[line["group"]]) + 0.5)}) + "\n" for line in rows))
            levelled = run("score", folder / "config.toml", "--rollouts", level, "--out", "-")
            self.assertEqual(levelled.returncode, 0, levelled.stderr)
            without = [json.loads(line)["advantage"] for line in levelled.stdout.splitlines()]
            self.assert_near(row["push"], sum(abs(line["advantage"]) for line in rows))
            self.assert_near(row["due_to_length"], sum(abs(line["advantage"] - rest) for line, rest in zip(rows, without)))
            self.assertTrue(0 < row["share"] < 1, row)
        # DRPO's weights of the right answers are all that length does to it.
        self.assertTrue(all(0 < row["share"] < 1 for row in self.json["runs"][0]["pushes"]["steps"]))

    def slide(self, name, value):
        return self.browser.run(
            """const slider = document.getElementById('what-if-' + arguments[0]);
            slider.value = arguments[1];
            slider.dispatchEvent(new Event('input', {bubbles: true}));
            return Object.fromEntries(['eligible', 'cut', 'removed', 'mean', 'valid', 'weighted', 'effective'].map(
              (id) => [id, document.getElementById('what-if-' + id).textContent]));""", name, value)

    def scored(self, folder, step, algo, transform):
        rows = run("score", self.write("what.toml", f"""
[data]
task = "chain_sum"
[rollout]
num_generations = 8
max_completion_length = 60
[[reward]]
type = "accuracy"
{transform}
[algo]
{algo}
"""), "--rollouts", folder / f"rollouts/step_{step}.jsonl.zst", "--out", "-")
        self.assertEqual(rows.returncode, 0, rows.stderr[-2000:])
        return [json.loads(line) for line in rows.stdout.splitlines()]

    def write(self, name, text):
        (self.folder / name).write_text(text)
        return self.folder / name

    def test_sliders_give_what_score_gives(self):
        folder, place = self.runs[1], 1  # whose lengths no transform has cut
        self.browser.run(f"const run = document.getElementById('what-if-run'); run.value = {place}; run.dispatchEvent(new Event('change'));")
        step = self.json["runs"][place]["lengths"]["step"]
        seen = set()
        for alpha, margin in ((0.5, 1), (1, 3), (2, 1)):
            self.slide("margin", margin)
            told = self.slide("alpha", alpha)
            rows = self.scored(folder, step, 'type = "grpo"',
                               f'[[transform]]\ntype = "dot"\nalpha = {float(alpha)}\nmargin = {float(margin)}\non_cut = "force_zero"')
            cut = [row for row in rows if any("dot: cut" in what for what in row["transforms"])]
            removed = sum(row["raw_num_tokens"] - row["num_tokens"] for row in cut)
            self.assertEqual(told["cut"].split(" ")[0], str(len(cut)))
            self.assertEqual(told["removed"].split(" ")[0].replace(",", ""), str(removed))
            before, after = (float(part) for part in told["mean"].split(" → "))
            self.assertAlmostEqual(before, mean([row["raw_num_tokens"] for row in rows]), delta=0.006)
            self.assertAlmostEqual(after, mean([row["num_tokens"] for row in rows]), delta=0.006)
            seen.add(told["cut"])
        self.assertGreater(len(seen), 1, "the slider changes nothing")
        weighted = set()
        for exponent in (-1, 0.5):
            told = self.slide("lambda", exponent)
            rows = self.scored(folder, step, f'type = "drpo"\nlambda = {10.0 ** exponent}\nlength_capacity = 60', "")
            groups = {}
            for row in rows:
                groups.setdefault(row["group"], []).append(row)
            both = [group for group in groups.values() if len({row["correct"] for row in group}) == 2]
            self.assertEqual(told["valid"], f"{len(both)} of {len(groups)}")
            plain = mean([mean([row["num_tokens"] for row in group if row["correct"]]) for group in both])
            under = mean([sum(row["advantage"] / len(group) * row["num_tokens"] for row in group if row["correct"]) for group in both])
            effective = mean([1 / sum((row["advantage"] / len(group)) ** 2 for row in group if row["correct"]) for group in both])
            self.assertAlmostEqual(float(told["weighted"].split(" → ")[0]), plain, delta=0.006)
            self.assertAlmostEqual(float(told["weighted"].split(" → ")[1]), under, delta=0.006)
            self.assertAlmostEqual(float(told["effective"]), effective, delta=0.006)
            weighted.add(told["weighted"])
        self.assertEqual(len(weighted), 2)
        self.assert_no_errors()

    def test_responses_are_shown_with_their_tokens(self):
        shown = self.browser.run(
            """const colour = document.getElementById('viewer-colour');
            colour.value = 'logprob';
            colour.dispatchEvent(new Event('change'));
            document.getElementById('viewer-after').click();
            return new Promise((done) => setTimeout(() => done({
              texts: [...document.querySelectorAll('pre.response')].map((one) => one.textContent),
              titles: [...document.querySelectorAll('pre.response span')].map((one) => one.title),
              place: document.getElementById('viewer-place').textContent}), 200));""")
        group = self.json["runs"][0]["samples"]["groups"][1]
        self.assertEqual(shown["texts"], [sample["text"] for sample in group["samples"]])
        wanted = [f"log-probability {logprob:.3f}" for sample in group["samples"] for _, logprob, _ in sample["tokens"]]
        self.assertEqual(shown["titles"], wanted)
        self.assertTrue(shown["place"].startswith("group 2 of 12"))
        ranks = [sample["length_rank"] for sample in group["samples"]]
        lengths = [sample["raw_num_tokens"] for sample in group["samples"]]
        for rank, length in zip(ranks, lengths):
            self.assertEqual(rank, sum(other < length for other in lengths) + (lengths.count(length) + 1) / 2)
        for sample in group["samples"]:
            z = (sample["raw_num_tokens"] - mean(lengths)) / statistics.stdev(lengths) if len(set(lengths)) > 1 else None
            self.assert_near(sample["length_z"], z)

    def test_every_chart_can_be_saved_and_runs_hidden_by_key(self):
        labels = self.browser.run("return [...document.querySelectorAll('.files')].filter((one) => !one.hidden).map("
                                  "(one) => [...one.querySelectorAll('button')].map((button) => button.textContent).join(' '));")
        self.assertGreaterEqual(len(labels), 12)
        self.assertEqual(set(labels), {"PNG SVG CSV"})
        saved = self.browser.run(
            """let kept = null;
            const real = URL.createObjectURL;
            URL.createObjectURL = (blob) => { kept = blob; return real(blob); };
            document.querySelector('#accuracy + .files button:last-child').click();
            URL.createObjectURL = real;
            return kept.text();""")
        rows = [line.split(",") for line in saved.strip().split("\r\n")]
        self.assertEqual(rows[0], ["series", "x", "y", "y_low", "y_high", "x_low", "x_high"])
        first = self.json["runs"][0]
        found = [row for row in rows if row[0] == first["name"] and row[3]]
        self.assertEqual([float(row[2]) for row in found], [row["accuracy"] for row in first["checkpoints"]])
        count = "return document.getElementById('split').data.length;"
        before = self.browser.run(count)
        self.browser.run("document.querySelector('#run-boxes input').click();")
        self.assertLess(self.browser.run(count), before)
        self.browser.run("document.querySelector('#run-boxes input').click();")
        self.assertEqual(self.browser.run(count), before)
        self.assert_no_errors()


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


class Pictures(Case):
    """With --screenshots: what the page looks like, for docs and for eyes."""

    def test_screenshots(self):
        if Case.screenshots is None:
            self.skipTest("no --screenshots")
        Case.screenshots.mkdir(parents=True, exist_ok=True)
        page = self.folder / "report.html"
        self.assertEqual(run("report", *Case.pictured, "--out", page).returncode, 0)
        for width in (1280, 1920):
            self.browser.size(width, 1000)
            self.browser.open(page.as_uri())
            time.sleep(1)
            height = self.browser.run("return document.documentElement.scrollHeight;")
            for place in range(math.ceil(height / 1000)):
                self.browser.run("scrollTo(0, arguments[0]);", 1000 * place)
                time.sleep(0.2)
                self.browser.picture(Case.screenshots / f"report-{width}-{place:02}.png")
            self.assertEqual(self.browser.run("return document.documentElement.scrollWidth > innerWidth;"), False, "it scrolls sideways")
        self.assert_no_errors()


if __name__ == "__main__":
    arguments = sys.argv[2:]
    if "--screenshots" in arguments:
        at = arguments.index("--screenshots")
        Case.screenshots = pathlib.Path(arguments[at + 1]).resolve()
        end = next((k for k in range(at + 2, len(arguments)) if not pathlib.Path(arguments[k]).is_dir()), len(arguments))
        Case.pictured = [pathlib.Path(one).resolve() for one in arguments[at + 2:end]]
        del arguments[at:end]
    if shutil.which("chromedriver") is None:
        sys.exit("chromedriver is not installed: tools/setup browser")
    unittest.main(argv=[sys.argv[0], *arguments], verbosity=2)
