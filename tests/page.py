"""The report as a reader sees it, in a browser: its charts hold its JSON, its JSON what the files hold, its sliders what
vernier score gives.

    python3 tests/page.py BUILD_FOLDER [NAME ...] [--runs RUN...] [--screenshots FOLDER]

Standard library only, beside Debian's chromium and chromium-driver (tools/setup browser).
"""

import json
import math
import pathlib
import shutil
import statistics
import tempfile
import time
import unittest

from page_case import OPTIONS, Case, main, run
from recompute import mean
from report_numbers import Numbers


class Report(Numbers, Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = pathlib.Path(tempfile.mkdtemp(prefix="vernier-page-"))
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.page = folder / "report.html"
        done = run("report", *cls.runs, "--out", cls.page)
        assert done.returncode == 0, done.stderr
        cls.json = json.loads(run("report", *cls.runs, "--json").stdout)
        cls.browser.open(cls.page.as_uri())
        cls.browser.wait_for_charts()

    def test_the_page_holds_the_json(self):
        held = self.browser.run("return JSON.parse(document.getElementById('report-data').textContent);")
        self.assertEqual(held, self.json)
        self.assert_no_errors()

    def traces(self, chart):
        return {trace["name"]: trace for trace in self.browser.chart(chart) or []}

    def test_charts_of_evaluations_show_the_json(self):
        accuracy, length = ({trace["name"]: trace for trace in self.browser.chart(name) if trace["high"] is not None}
                            for name in ("accuracy", "length"))
        placed = [(trace["x"], trace["y"]) for trace in self.browser.chart("trade-off")]
        budgets, difficulty = self.traces("budgets"), self.traces("difficulty")
        histograms = [trace["y"] for trace in self.browser.chart("histograms")]
        for one in self.json["runs"]:
            rows = one["checkpoints"]
            for traces, key in ((accuracy, "accuracy"), (length, "mean_length")):
                self.assertEqual(traces[one["name"]]["x"], [row["step"] for row in rows])
                self.assertEqual(traces[one["name"]]["y"], [row[key] for row in rows])
                for row, high in zip(rows, traces[one["name"]]["high"]):
                    self.assert_near(row[key] + high, row[f"{key}_high"])
            self.assertIn(([row["mean_length"] for row in rows], [row["accuracy"] for row in rows]), placed)
            if rows[-1]["budgets"]:
                shown = budgets[f"{one['name']} step {rows[-1]['step']}"]
                self.assertEqual(shown["y"], [row["accuracy"] for row in rows[-1]["budgets"]])
            for band in one["difficulty"]["bands"]:
                for title, key in (("accuracy", "accuracy"), ("mean length", "mean_length")):
                    self.assertEqual(difficulty[f"{one['name']} {title} {band['label']}"]["y"],
                                     [point[key] for point in band["points"]])
            self.assertIn([count / one["last"]["num_samples"] for count in one["last"]["right"]], histograms)
        laws = {trace["name"] for trace in self.browser.chart("accuracy") if trace["name"].endswith("power law")}
        self.assertEqual(laws, {f"{one['name']} power law" for one in self.json["runs"] if one["learning_curve"]["a"] is not None})
        self.assert_no_errors()

    def test_charts_of_training_show_the_json(self):
        fan, pushes, optimum, timings = (self.traces(name) for name in ("fan", "pushes", "optimum", "timings"))
        split = [trace["y"] for trace in self.browser.chart("split")]
        for one in self.json["runs"]:
            for key in ("p10", "p25", "p50", "p75", "p90"):
                self.assertEqual(fan[f"{one['name']} {key}"]["y"], one["fan"][key])
            self.assertEqual(pushes[one["name"]]["y"], [row["share"] for row in one["pushes"]["steps"]])
            self.assertEqual(optimum[f"{one['name']} mean length"]["y"], [row["mean_length"] for row in one["optima"]])
            for name, key in (("optimum, pooled", "pooled"), ("optimum within a question", "within_question")):
                self.assertEqual(optimum[f"{one['name']} {name}"]["y"],
                                 [row[key]["length"] for row in one["optima"] if row[key]["certain"]])
            for name, key in (("sampling", "rollout"), ("learning", "update")):
                self.assertEqual(timings[f"{one['name']} {name}"]["y"], one["timings"][key])
            self.assertIn(one["train"]["right_mean"], split)
        self.assert_no_errors()

    def test_charts_of_lengths_show_the_json(self):
        cut = self.traces("outliers")
        stored = self.json["runs"][0]["lengths"]["groups"]
        shown = sorted(value for name in ("right", "wrong or unjudged", "would be cut") if name in cut for value in cut[name]["y"])
        self.assertEqual(shown, sorted(value for group in stored for value in group["length"]))
        start = self.json["start_policies"][0]
        law = self.browser.chart("law")
        certain = [row["length"] for row in start["by_difficulty"] if row["certain"]]
        self.assertEqual(law[0]["y"] if law else [], certain)
        self.assertIn([found["accuracy"] for found in start["pooled"]["bins"]], [trace["y"] for trace in self.browser.chart("start")])
        for trace, key in zip(self.browser.chart("pairs") or [], ("accuracy_difference", "length_ratio")):
            self.assertEqual(trace["x"], [pair[key] for pair in self.json["pairs"]["pairs"]])
        self.assert_no_errors()

    def slide(self, name, value):
        return self.browser.run(
            """const slider = document.getElementById('what-if-' + arguments[0]);
            slider.value = arguments[1];
            slider.dispatchEvent(new Event('input', {bubbles: true}));
            return Object.fromEntries(['eligible', 'cut', 'removed', 'mean', 'valid', 'weighted', 'effective'].map(
              (id) => [id, document.getElementById('what-if-' + id).textContent]));""", name, value)

    def scored(self, folder, step, longest, algo, transform):
        rows = run("score", self.write("what.toml", f"""
[data]
task = "chain_sum"
[rollout]
num_generations = 8
max_completion_length = {longest}
[[reward]]
type = "accuracy"
{transform}
[algo]
{algo}
"""), "--rollouts", folder / f"rollouts/step_{step}.jsonl.zst", "--out", "-")
        self.assertEqual(rows.returncode, 0, rows.stderr[-2000:])
        return [json.loads(line) for line in rows.stdout.splitlines()]

    def test_sliders_give_what_score_gives(self):
        place = next(k for k, folder in enumerate(self.runs) if "[[transform]]" not in (folder / "config.toml").read_text())
        folder = self.runs[place]
        self.browser.run(f"const run = document.getElementById('what-if-run'); run.value = {place}; run.dispatchEvent(new Event('change'));")
        step, longest = (self.json["runs"][place]["lengths"][key] for key in ("step", "max_completion_length"))
        seen = set()
        for alpha, margin in ((0.5, 1), (1, 3), (2, 1)):
            self.slide("margin", margin)
            told = self.slide("alpha", alpha)
            rows = self.scored(folder, step, longest, 'type = "grpo"',
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
            rows = self.scored(folder, step, longest, f'type = "drpo"\nlambda = {10.0 ** exponent}\nlength_capacity = {longest}', "")
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

    def test_what_a_run_cut_itself(self):
        """And what the rule said of the rest."""
        for place, one in enumerate(self.json["runs"]):
            self.browser.run("const run = document.getElementById('what-if-run'); run.value = arguments[0]; "
                             "run.dispatchEvent(new Event('change'));", place)
            own = [after for group in one["lengths"]["groups"] for kept, length, after in
                   zip(group["kept"], group["length"], group["correct_after"]) if kept < length]
            wanted = f"{len(own)}, still right {sum(own)}" if own else "none"
            self.assertEqual(self.browser.run("return document.getElementById('what-if-own').textContent;"), wanted)
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
        wanted = [f"log-probability {logprob:.3f}" for sample in group["samples"] for _, logprob, _ in sample.get("tokens", [])]
        self.assertEqual(shown["titles"], wanted)
        self.assertTrue(shown["place"].startswith("group 2 of "), shown["place"])
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
        self.browser.wait_for_charts()
        self.assertLess(self.browser.run(count), before)
        self.browser.run("document.querySelector('#run-boxes input').click();")
        self.browser.wait_for_charts()
        self.assertEqual(self.browser.run(count), before)
        self.assert_no_errors()


class Pictures(Case):
    """With --screenshots: what the page looks like, for docs and for eyes."""

    @unittest.skipUnless(OPTIONS.screenshots, "no --screenshots")
    def test_screenshots(self):
        OPTIONS.screenshots.mkdir(parents=True, exist_ok=True)
        page = self.folder / "report.html"
        self.assertEqual(run("report", *self.runs, "--out", page).returncode, 0)
        for width in (1280, 1920):
            self.browser.size(width, 1000)
            self.browser.open(page.as_uri())
            self.browser.wait_for_charts()
            height = self.browser.run("return document.documentElement.scrollHeight;")
            for place in range(math.ceil(height / 1000)):
                self.browser.run("scrollTo(0, arguments[0]);", 1000 * place)
                time.sleep(0.2)
                self.browser.picture(OPTIONS.screenshots / f"report-{width}-{place:02}.png")
            self.assertEqual(self.browser.run("return document.documentElement.scrollWidth > innerWidth;"), False, "it scrolls sideways")
        self.assert_no_errors()


if __name__ == "__main__":
    main()
