"""The report as a reader sees it, in a browser: its charts hold its JSON, its JSON what the files hold, its sliders what
vernier score gives.

    python3 tests/page.py BUILD_FOLDER [--screenshots FOLDER RUN...] [NAME ...]

Standard library only, beside Debian's chromium and chromium-driver (tools/setup browser).
"""

import json
import math
import pathlib
import re
import statistics
import sys
import time
import unittest

import recompute
from page_case import Case, need_browser, run
from recompute import lines_of, mean, quantile


class Report(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.page = cls.runs[0].parent / "report.html"
        done = run("report", *cls.runs, "--out", cls.page)
        assert done.returncode == 0, done.stderr
        cls.json = json.loads(run("report", *cls.runs, "--json").stdout)
        cls.browser.open(cls.page.as_uri())
        cls.browser.wait_for_charts()

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
        laws = {trace["name"] for trace in self.browser.chart("accuracy") if trace["name"].endswith("power law")}
        self.assertEqual(laws, {f"{one['name']} power law" for one in runs if one["learning_curve"]["a"] is not None})
        length = {trace["name"]: trace for trace in self.browser.chart("length") if trace["high"] is not None}
        cut = {trace["name"]: trace for trace in self.browser.chart("outliers")}
        stored = runs[0]["lengths"]["groups"]
        shown = sorted(value for name in ("right", "wrong or unjudged", "would be cut") for value in cut[name]["y"])
        self.assertEqual(shown, sorted(value for group in stored for value in group["length"]))
        law = self.browser.chart("law")
        certain = [row["length"] for row in self.json["start_policies"][0]["by_difficulty"] if row["certain"]]
        self.assertEqual(law[0]["y"] if law else [], certain)
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
            for name, key in (("sampling", "rollout"), ("learning", "update")):
                self.assertEqual(timings[f"{one['name']} {name}"]["y"], one["timings"][key])
            for name, key in (("optimum, pooled", "pooled"), ("optimum within a question", "within_question")):
                self.assertEqual(optimum[f"{one['name']} {name}"]["y"],
                                 [row[key]["length"] for row in one["optima"] if row[key]["certain"]])
            self.assertEqual(length[one["name"]]["y"], [row["mean_length"] for row in one["checkpoints"]])
            for band in one["difficulty"]["bands"]:
                for title, key in (("accuracy", "accuracy"), ("mean length", "mean_length")):
                    self.assertEqual(difficulty[f"{one['name']} {title} {band['label']}"]["y"],
                                     [point[key] for point in band["points"]])
        placed = [trace for trace in self.browser.chart("trade-off")]
        for one in runs:
            rows = one["checkpoints"]
            self.assertIn(([row["mean_length"] for row in rows], [row["accuracy"] for row in rows]),
                          [(trace["x"], trace["y"]) for trace in placed])
            self.assertIn(one["train"]["right_mean"], [trace["y"] for trace in self.browser.chart("split")])
            shares = [count / one["last"]["num_samples"] for count in one["last"]["right"]]
            self.assertIn(shares, [trace["y"] for trace in self.browser.chart("histograms")])
        start = self.json["start_policies"][0]
        self.assertIn([found["accuracy"] for found in start["pooled"]["bins"]], [trace["y"] for trace in self.browser.chart("start")])
        pairs = self.browser.chart("pairs")
        pair = self.json["pairs"]["pairs"][0]
        self.assertEqual(pairs[0]["x"], [pair["accuracy_difference"]])
        self.assertEqual(pairs[1]["x"], [pair["length_ratio"]])
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
            points = [(row["mean_length"], row["accuracy"]) for row in one["checkpoints"]]
            self.assert_near(one["area"], recompute.area(points, self.json["shortest"], self.json["longest"]), "area")
            self.assertLessEqual(one["area_low"], one["area"])
            self.assertGreaterEqual(one["area_high"], one["area"])
            self.check_changes(one["difficulty"], hardness, tallies)
            self.check_optima(folder, one)
            self.check_training(one, rl)
            for part, step in ((one["first"], 0), (one["last"], max(tallies))):
                for right, key in ((True, "right"), (False, "wrong")):
                    found = recompute.histogram(tallies[step], self.json["bin_width"], len(part[key]), right)
                    self.assertEqual(part[key], found)
        last = [lines_of(folder / "eval/step_12.jsonl") for folder in self.runs]
        found = self.json["pairs"]["pairs"][0]
        count, difference, ratio = recompute.pair(*last)
        self.assertEqual(found["num_prompts"], count)
        self.assert_near(found["accuracy_difference"], difference)
        self.assert_near(found["length_ratio"], ratio)
        all_points = [(row["mean_length"], row["accuracy"]) for one in self.json["runs"] for row in one["checkpoints"]]
        self.assertEqual([(row["mean_length"], row["accuracy"]) for row in self.json["frontier"]], recompute.frontier(all_points))
        self.check_start()
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

    def check_changes(self, panel, hardness, tallies):
        first, last = tallies[0], tallies[max(tallies)]
        for band in panel["bands"]:
            ends = [float(part) for part in re.findall(r"\d+(?:\.\d+)?", band["label"])]
            parts = [[row for row in rows if ends[0] <= hardness[row["group"]] <= ends[-1]] for rows in (first, last)]
            accuracy, length = ([mean([row[key] for row in rows]) for rows in parts] for key in ("correct", "num_tokens"))
            self.assert_near(band["accuracy_change"], accuracy[1] - accuracy[0])
            self.assert_near(band["length_change"], length[1] / length[0] - 1)
        hard = panel["bands"][-1]
        alarm = hard["num_prompts"] >= 5 and hard["length_change_high"] < 0 and hard["accuracy_change_low"] <= 0
        self.assertEqual(panel["alarm"] is not None, alarm)
        for row in panel["solved"]:
            prompts = {}
            for answer in tallies[row["step"]]:
                prompts.setdefault(answer["group"], []).append(answer)
            for key, right in (("always_length", True), ("never_length", False)):
                self.assert_near(row[key], mean([answer["num_tokens"] for answers in prompts.values() for answer in answers
                                                 if all(other["correct"] is right for other in answers)]))

    def check_optima(self, folder, one):
        for window in one["optima"]:
            answers = []
            for step in one["fan"]["step"]:
                if not window["first_step"] <= step <= window["last_step"]:
                    continue
                for line in (folder / f"rollouts/step_{step}.idx").read_text().splitlines()[1:]:
                    length, correct, _, group, _, reason = line.split("\t")
                    if correct != "-" and reason == "stop":
                        answers.append(((step, group), int(length), correct == "1"))
            for key, within in (("pooled", False), ("within_question", True)):
                self.assertEqual(window[key]["num_samples"], len(answers))
                self.assert_near(window[key]["length"], recompute.optimum(answers, within), key)

    def check_training(self, one, rl):
        train = one["train"]
        self.assertEqual(train["step"], [row["step"] for row in rl])
        for key, name in (("accuracy", "accuracy"), ("mean_length", "completions/mean_length")):
            for found, row in zip(train[key], rl):
                self.assert_near(found, row[name])
        for key, name in (("right_mean", "length/correct/mean"), ("right_p90", "length/correct/p90"), ("wrong_mean", "length/wrong/mean")):
            for found, value in zip(train[key], recompute.running([row.get(name) for row in rl], self.json["running_steps"])):
                self.assert_near(found, value, key)

    def check_start(self):
        start = self.json["start_policies"][0]
        rows = lines_of(self.runs[0] / "eval/step_0.jsonl")
        curves = [(start["pooled"], rows)]
        for band in start["bands"]:
            difficulty = float(re.search(r"\d+", band["label"])[0])
            curves.append((band, [row for row in rows if row["difficulty"] == difficulty]))
        for curve, members in curves:
            self.assertEqual(sum(found["num_samples"] for found in curve["bins"]), len(members))
            for found in curve["bins"]:
                inside = [row for row in members if found["low"] <= row["num_tokens"] <= found["high"]]
                self.assertEqual(found["num_samples"], len(inside))
                self.assert_near(found["accuracy"], mean([row["correct"] for row in inside]))
                self.assert_near(found["mean"], mean([row["num_tokens"] for row in inside]))
        questions = {}
        for row in rows:
            questions.setdefault(row["group"], []).append(row)
        ranked = [one for answers in questions.values() if len(answers) > 1 for one in recompute.ranks(answers)]
        for found in start["within_question"]["bins"]:
            inside = [right for rank, right in ranked if found["low"] - 1e-9 <= rank - 0.5 <= found["high"] + 1e-9]
            self.assertEqual(found["num_samples"], len(inside))
            self.assert_near(found["accuracy"], mean(inside))
        for row in start["by_difficulty"]:
            members = [(answer["group"], answer["num_tokens"], answer["correct"]) for answer in rows
                       if answer["difficulty"] == row["difficulty"]]
            self.assert_near(row["length"], recompute.optimum(members, False))

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
        # What the run with DOT cut itself, and what the rule said of the rest.
        self.browser.run("const run = document.getElementById('what-if-run'); run.value = 0; run.dispatchEvent(new Event('change'));")
        stored = self.json["runs"][0]["lengths"]
        own = [after for group in stored["groups"] for kept, length, after in
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
        self.browser.wait_for_charts()
        self.assertLess(self.browser.run(count), before)
        self.browser.run("document.querySelector('#run-boxes input').click();")
        self.browser.wait_for_charts()
        self.assertEqual(self.browser.run(count), before)
        self.assert_no_errors()


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
            self.browser.wait_for_charts()
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
    need_browser()
    unittest.main(argv=[sys.argv[0], *arguments], verbosity=2)
