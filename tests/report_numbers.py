"""What a report says, again from the files of its runs: checks that tests/page.py makes of `report --json`."""

import itertools
import json
import math
import re

import recompute
import redraw
from page_case import run
from recompute import lines_of, mean, quantile


def limits(label):
    """The least and the highest difficulty of a band, from its name."""
    ends = [float(part) for part in re.findall(r"\d+(?:\.\d+)?", label)]
    return ends[0], ends[-1]


def rows_of_index(path):
    """(length, verdict or None, group, reason)"""
    for line in path.read_text().splitlines()[1:]:
        length, correct, _, group, _, reason = line.split("\t")
        yield int(length), None if correct == "-" else correct == "1", int(group), reason


def right(row):
    return row["correct"]


def tokens(row):
    return row["num_tokens"]


def ratio(prompts):
    return sum(total for total, _ in prompts) / sum(count for _, count in prompts)


def right_when_cut(row, budget):
    """By chain_sum's rule; a character is a token there."""
    said = re.fullmatch(r"[^#]*#(\d)\.", row["response"][:budget])
    return bool(said) and said[1] == row["answer"]


class Numbers:
    """Mixed into a Case whose `json` is the report of its `runs`."""

    def assert_interval(self, found, key, interval, tolerance=1e-9):
        for end, value in zip(("low", "high"), interval):
            self.assert_near(found[f"{key}_{end}"], value, f"{key}_{end} of {found}", tolerance)

    def evaluations(self, folder, one):
        return {row["step"]: lines_of(folder / f"eval/step_{row['step']}.jsonl") for row in one["checkpoints"]}

    def each(self):
        for folder, one in zip(self.runs, self.json["runs"]):
            yield folder, one, self.evaluations(folder, one)

    def test_evaluations(self):
        for folder, one, evaluations in self.each():
            stated = {row["step"]: row for row in lines_of(folder / "metrics.jsonl") if row["phase"] == "eval"}
            self.assertEqual([row["step"] for row in one["checkpoints"]], sorted(stated))
            for checkpoint in one["checkpoints"]:
                rows = evaluations[checkpoint["step"]]
                self.assert_near(checkpoint["clipped_ratio"], mean([row["finish_reason"] == "length" for row in rows]))
                self.assert_near(checkpoint["tokens_per_correct"], checkpoint["mean_length"] / checkpoint["accuracy"])
                budgets = {key.split("/")[2] for key in stated[checkpoint["step"]] if key.startswith("eval/budget/")}
                self.assertEqual({str(point["budget"]) for point in checkpoint["budgets"]}, budgets)
                for key, value in (("accuracy", right), ("mean_length", tokens)):
                    self.assert_near(checkpoint[key], mean([value(row) for row in rows]))
                    self.assert_interval(checkpoint, key, redraw.mean_interval(redraw.by_prompt(rows, value)))
                for point in checkpoint["budgets"]:
                    self.assert_near(point["accuracy"], ratio(redraw.by_prompt(rows, lambda row: right_when_cut(row, point["budget"]))))
                    prompts = redraw.by_prompt(rows, lambda row: min(row["num_tokens"], point["budget"]))
                    self.assert_near(point["mean_length"], sum(total for total, _ in prompts) / len(rows))
                    self.assert_interval(point, "mean_length", redraw.mean_interval(prompts))
            for part, step in ((one["first"], min(evaluations)), (one["last"], max(evaluations))):
                for verdict, key in ((True, "right"), (False, "wrong")):
                    found = recompute.histogram(evaluations[step], self.json["bin_width"], len(part[key]), verdict)
                    self.assertEqual(part[key], found)
        points = [(row["mean_length"], row["accuracy"]) for one in self.json["runs"] for row in one["checkpoints"]]
        self.assertEqual([(row["mean_length"], row["accuracy"]) for row in self.json["frontier"]], recompute.frontier(points))

    def test_areas_and_learning_curves(self):
        shortest, longest = self.json["shortest"], self.json["longest"]
        for _, one, evaluations in self.each():
            steps = [[redraw.by_prompt(rows, value) for value in (right, tokens)] for rows in evaluations.values()]

            def points_of(drawn):
                return [tuple(sum(column[i][0] for i in drawn) / sum(column[i][1] for i in drawn) for column in step)
                        for step in steps]

            def area(drawn):
                points = [(length, accuracy) for accuracy, length in points_of(drawn)]
                scale = math.exp(mean([math.log(length) for length, _ in points]) - level)
                return recompute.area(points, scale * shortest, scale * longest)

            count = len(steps[0][0])
            level = mean([math.log(length) for _, length in points_of(range(count))])
            self.assert_near(one["area"], area(range(count)), "area")
            self.assert_interval(one, "area", redraw.interval(count, area))
            self.check_power_law(one)

    def test_there_is_an_area_for_each_run(self):
        self.assertTrue(all(one["area"] is not None for one in self.json["runs"]))

    def check_power_law(self, one):
        """No other law of the family is nearer to the points."""
        law = one["learning_curve"]
        points = [(row["step"], 1 - row["accuracy"]) for row in one["checkpoints"] if row["step"] > 0]
        if law["a"] is None:
            return
        values = [law[key] for key in "abc"]
        self.assert_near(law["rmse"], redraw.power_law_error(points, *values))
        for i in range(3):
            for factor in (0.9, 0.99, 1.01, 1.1):
                other = [value * (factor if i == k else 1) for k, value in enumerate(values)]
                if -4 <= other[1] <= -0.01:
                    self.assertGreaterEqual(redraw.power_law_error(points, *other), law["rmse"] - 1e-12, (law, other))

    def test_bands(self):
        """Prompts of one difficulty, the same at every step, and how they change."""
        for _, one, evaluations in self.each():
            panel = one["difficulty"]
            hardness = {row["group"]: row["difficulty"] for row in evaluations[0]}
            self.assertEqual(sum(band["num_prompts"] for band in panel["bands"]), len(hardness))
            self.assertEqual([row["step"] for row in panel["solved"]], sorted(evaluations))
            for band in panel["bands"]:
                low, high = limits(band["label"])
                members = {group for group, value in hardness.items() if low <= value <= high}
                self.assertEqual(band["num_prompts"], len(members))
                steps = {step: [row for row in rows if row["group"] in members] for step, rows in evaluations.items()}
                self.assertEqual([point["step"] for point in band["points"]], sorted(evaluations))
                for point in band["points"]:
                    for key, value in (("accuracy", right), ("mean_length", tokens)):
                        prompts = redraw.by_prompt(steps[point["step"]], value)
                        self.assert_near(point[key], ratio(prompts))
                        self.assert_interval(point, key, redraw.mean_interval(prompts))
                self.check_change(band, steps[0], steps[max(steps)])
            hard = panel["bands"][-1]
            alarm = hard["num_prompts"] >= 5 and hard["length_change_high"] < 0 and hard["accuracy_change_low"] <= 0
            self.assertEqual(panel["alarm"] is not None, alarm)
            for row in panel["solved"]:
                prompts = {}
                for answer in evaluations[row["step"]]:
                    prompts.setdefault(answer["group"], []).append(answer)
                for key, verdict in (("always_length", True), ("never_length", False)):
                    self.assert_near(row[key], mean([answer["num_tokens"] for answers in prompts.values() for answer in answers
                                                     if all(other["correct"] is verdict for other in answers)]))

    def check_change(self, band, first, last):
        for key, value, change in (("accuracy_change", right, lambda a, b: b - a),
                                   ("length_change", tokens, lambda a, b: b / a - 1)):
            sides = [redraw.by_prompt(rows, value) for rows in (first, last)]

            def of(drawn):
                return change(*(sum(side[i][0] for i in drawn) / sum(side[i][1] for i in drawn) for side in sides))

            self.assert_near(band[key], of(range(len(sides[0]))))
            self.assert_interval(band, key, redraw.interval(len(sides[0]), of))

    def test_sampled_lengths(self):
        for folder, one, _ in self.each():
            stored = sorted(int(path.stem[len("step_"):]) for path in folder.glob("rollouts/step_*.idx"))
            self.assertEqual(one["fan"]["step"], stored)
            self.assertEqual(one["stored_steps"], stored)
            self.assertEqual([window["first_step"] for window in one["optima"]][0], stored[0])
            self.assertEqual([window["last_step"] for window in one["optima"]][-1], stored[-1])
            for k, step in enumerate(one["fan"]["step"]):
                lengths = [row[0] for row in rows_of_index(folder / f"rollouts/step_{step}.idx")]
                for key in ("p10", "p25", "p50", "p75", "p90"):
                    self.assert_near(one["fan"][key][k], quantile(lengths, int(key[1:]) / 100), key)
            for window in one["optima"]:
                answers = [((step, group), length, verdict) for step in one["fan"]["step"]
                           if window["first_step"] <= step <= window["last_step"]
                           for length, verdict, group, reason in rows_of_index(folder / f"rollouts/step_{step}.idx")
                           if verdict is not None and reason == "stop"]
                for key, within in (("pooled", False), ("within_question", True)):
                    self.assertEqual(window[key]["num_samples"], len(answers))
                    self.check_optimum(window[key], answers, within)
                self.check_window(folder, one, window)
            self.check_index(folder, stored[-1])

    def check_window(self, folder, one, window):
        """The mean length and the curve, of all that were judged, at the limit too."""
        rows = [((step, group), length, verdict) for step in one["fan"]["step"]
                if window["first_step"] <= step <= window["last_step"]
                for length, verdict, group, _ in rows_of_index(folder / f"rollouts/step_{step}.idx")]
        self.assert_near(window["mean_length"], mean([length for _, length, _ in rows]))
        judged = [row for row in rows if row[2] is not None]
        self.assertEqual(sum(found["num_samples"] for found in window["curve"]["bins"]), len(judged))
        for found in window["curve"]["bins"]:
            inside = [verdict for _, length, verdict in judged if found["low"] <= length <= found["high"]]
            self.assert_near(found["accuracy"], mean(inside))
        self.check_bin_intervals(window["curve"], judged)

    def check_index(self, folder, step):
        """That the index says what the responses do."""
        stored = self.scored_by(folder, folder / f"rollouts/step_{step}.jsonl.zst")
        for (length, verdict, group, reason), row in zip(rows_of_index(folder / f"rollouts/step_{step}.idx"), stored, strict=True):
            self.assertEqual((length, group, reason), (row["raw_num_tokens"], row["group"], row["finish_reason"]))
            if row["num_tokens"] == length:  # else the verdict in the row is that of what a transform left
                self.assertEqual(verdict, row["correct"])

    def check_optimum(self, found, answers, within):
        """The length of highest accuracy, how many draws have one, and where they have it."""
        length, support, interval = redraw.optimum(answers, within)
        self.assert_near(found["length"], length, tolerance=1e-6)
        self.assertEqual(found["certain"], length is not None and support >= 0.9)
        if length is not None:
            self.assert_near(found["support"], support)
            self.assert_interval(found, "length", interval, tolerance=1e-6)

    def test_training(self):
        for folder, one, _ in self.each():
            rl = [row for row in lines_of(folder / "metrics.jsonl") if row["phase"] == "rl"]
            train, timings = one["train"], one["timings"]
            self.assertEqual(train["step"], [row["step"] for row in rl])
            for key, name in (("accuracy", "accuracy"), ("mean_length", "completions/mean_length")):
                for found, row in zip(train[key], rl, strict=True):
                    self.assert_near(found, row[name])
            for key, name in (("right_mean", "length/correct/mean"), ("right_p50", "length/correct/p50"),
                              ("right_p90", "length/correct/p90"), ("wrong_mean", "length/wrong/mean")):
                values = recompute.running([row.get(name) for row in rl], self.json["running_steps"])
                for found, value in zip(train[key], values, strict=True):
                    self.assert_near(found, value, key)
            for k, row in enumerate(rl):
                for phase in ("rollout", "score", "credit", "update"):
                    self.assert_near(timings[phase][k], row[f"time/{phase}"])
                parts = sum(row[f"time/{name}"] for name in ("rollout", "score", "credit", "update"))
                self.assert_near(timings["other"][k], max(0, row["time/step"] - parts))
            first = rl[0]["completions/mean_length"]
            self.assert_near(timings["saved_s"], sum(row["time/rollout"] * (first / row["completions/mean_length"] - 1) for row in rl))

    def test_start_policy(self):
        start = self.json["start_policies"][0]
        rows = lines_of(self.runs[0] / "eval/step_0.jsonl")
        curves = [(start["pooled"], rows)]
        for band in start["bands"]:
            low, high = limits(band["label"])
            curves.append((band, [row for row in rows if low <= row["difficulty"] <= high]))
        for curve, members in curves:
            self.assertEqual(sum(found["num_samples"] for found in curve["bins"]), len(members))
            for found in curve["bins"]:
                inside = [row for row in members if found["low"] <= row["num_tokens"] <= found["high"]]
                self.assertEqual(found["num_samples"], len(inside))
                self.assert_near(found["accuracy"], mean([row["correct"] for row in inside]))
                self.assert_near(found["mean"], mean([row["num_tokens"] for row in inside]))
            self.check_bin_intervals(curve, [(row["group"], row["num_tokens"], row["correct"]) for row in members])
        questions = {}
        for row in rows:
            questions.setdefault(row["group"], []).append(row)
        ranked = [(group, rank - 0.5, value) for group, answers in questions.items() if len(answers) > 1
                  for rank, value in recompute.ranks(answers)]
        for found in start["within_question"]["bins"]:
            inside = [value for _, rank, value in ranked if found["low"] - 1e-9 <= rank <= found["high"] + 1e-9]
            self.assertEqual(found["num_samples"], len(inside))
            self.assert_near(found["accuracy"], mean(inside))
        self.check_bin_intervals(start["within_question"], ranked)
        self.check_law(start, rows)
        ended = [(row["group"], row["num_tokens"], row["correct"]) for row in rows if row["finish_reason"] == "stop"]
        for key, within in (("optimum", False), ("within_optimum", True)):
            self.check_optimum(start[key], ended, within)
        self.assertEqual(start["inverted_u"], start["pooled"]["inverted_u"])

    def check_bin_intervals(self, curve, values):
        """`values` holds (prompt, place on the axis, value)."""
        groups = sorted({group for group, _, _ in values})
        for found in curve["bins"]:
            prompts = {group: (0, 0) for group in groups}
            for group, place, value in values:
                if found["low"] - 1e-9 <= place <= found["high"] + 1e-9:
                    prompts[group] = (prompts[group][0] + value, prompts[group][1] + 1)
            self.assert_interval(found, "accuracy", redraw.mean_interval([prompts[group] for group in groups]))

    def check_law(self, start, rows):
        """Optima by difficulty, and that no other capacity fits those that are certain better."""
        points = []
        self.assertEqual([row["difficulty"] for row in start["by_difficulty"]], sorted({answer["difficulty"] for answer in rows}))
        for row in start["by_difficulty"]:
            members = [(answer["group"], answer["num_tokens"], answer["correct"]) for answer in rows
                       if answer["difficulty"] == row["difficulty"] and answer["finish_reason"] == "stop"]
            self.check_optimum(row, members, False)
            if row["certain"]:
                points.append((row["difficulty"], row["length"]))
        law = start["law"]
        self.assertEqual(law["scale"] is not None, len(points) >= 3)
        if law["scale"] is None:
            return

        def error(scale, capacity):
            return math.sqrt(mean([(scale * redraw.optimal_steps(x, capacity) - y) ** 2 for x, y in points]))

        self.assert_near(law["rmse"], error(law["scale"], law["capacity"]), tolerance=1e-6)
        for scale, capacity in ((1.01, 1), (0.99, 1), (1, 1.05), (1, 0.97)):
            if law["capacity"] * capacity > 1.001 * max(x for x, _ in points):
                self.assertGreaterEqual(error(law["scale"] * scale, law["capacity"] * capacity), law["rmse"] - 1e-9)

    def test_pairs(self):
        sides = [recompute.by_problem(evaluations[max(evaluations)]) for _, _, evaluations in self.each()]
        names = [one["name"] for one in self.json["runs"]]
        pairs = self.json["pairs"]["pairs"]
        self.assertEqual([(pair["first"], pair["second"]) for pair in pairs], list(itertools.combinations(names, 2)))
        for found, side in zip(self.json["pairs"]["sides"], sides, strict=True):
            answers = [row for rows in side.values() for row in rows]
            for key, value in (("accuracy", right), ("mean_length", tokens)):
                self.assert_near(found[key], mean([value(row) for row in answers]))
                self.assert_interval(found, key, redraw.mean_interval(redraw.by_prompt(answers, value, "problem")))
        p_values = {"accuracy_p": [], "length_p": []}
        for k, found in enumerate(pairs):
            first, second = (sides[names.index(found[key])] for key in ("first", "second"))
            shared = sorted(first.keys() & second.keys())
            self.assertEqual(found["num_prompts"], len(shared))
            accuracy, lengths = ([[mean([value(row) for row in side[problem]]) for problem in shared] for side in (first, second)]
                                 for value in (right, tokens))
            better, longer = ([b - a for a, b in zip(*both)] for both in (accuracy, lengths))
            for key, prompts in (("accuracy_difference", [(one, 1) for one in better]),
                                 ("length_difference", [(one, 1) for one in longer]),
                                 ("length_ratio", list(zip(lengths[1], lengths[0])))):
                self.assert_near(found[key], ratio(prompts))
                self.assert_interval(found, key, redraw.mean_interval(prompts))
            p_values["accuracy_p"].append(redraw.sign_flip_p(better))
            p_values["length_p"].append(redraw.sign_flip_p(longer))
            self.assert_near(found["aes"], recompute.efficiency(*map(mean, accuracy), *map(mean, lengths)))
            self.check_wins(found, better, longer, [first[problem] + second[problem] for problem in shared], with_interval=k == 0)
        for key, values in p_values.items():
            for found, p, adjusted in zip(pairs, values, redraw.holm(values), strict=True):
                self.assert_near(found[key], p)
                self.assert_near(found[f"{key}_holm"], adjusted)

    def check_wins(self, found, better, longer, answers, with_interval):
        counts = [(sum(row["correct"] for row in rows), len(rows)) for rows in answers]
        difficulties = [math.log((sum_right + 0.5) / (count - sum_right + 0.5)) for sum_right, count in counts]
        case = ([0.5 + one / 2 for one in better], longer, difficulties)
        weights, controlled, error = redraw.length_control(*case)
        for key, value in (("win", mean(case[0])), ("win_length_controlled", controlled), ("length_effect", weights[1]),
                           ("length_effect_error", error)):
            self.assert_near(found[key], value, key, 1e-6)
        if with_interval:  # thousands of fits: of one pair
            for key, interval in zip(("win", "win_length_controlled"), redraw.length_control_intervals(*case)):
                self.assert_interval(found, key, interval, tolerance=1e-6)

    def test_what_length_pushes(self):
        """What score gives the same responses if all of a group are equally long; where no transform looks at lengths."""
        seen = 0
        for folder, one in zip(self.runs, self.json["runs"]):
            if "[[transform]]" in (folder / "config.toml").read_text():
                continue
            for row in one["pushes"]["steps"]:
                rows = self.scored_by(folder, folder / f"rollouts/step_{row['step']}.jsonl.zst")
                groups = {}
                for line in rows:
                    groups.setdefault(line["group"], []).append(line["num_tokens"])
                level = self.write("level.jsonl", "".join(json.dumps(
                    {key: value for key, value in line.items()
                     if key not in ("response_ids", "logprobs", "prompt_ids", "forced", "raw_num_tokens", "length_rank", "length_z")}
                    | {"num_tokens": math.floor(mean(groups[line["group"]]) + 0.5)}) + "\n" for line in rows))
                without = [line["advantage"] for line in self.scored_by(folder, level)]
                # A wrong answer of DRPO is weighed by its log-probability, which the levelled rows lack: not by length.
                self.assertTrue(all(rest is not None or line["correct"] is False for line, rest in zip(rows, without)))
                due = [abs(line["advantage"] - rest) for line, rest in zip(rows, without) if rest is not None]
                self.assert_near(row["push"], sum(abs(line["advantage"]) for line in rows))
                self.assert_near(row["due_to_length"], sum(due))
                self.assert_near(row["share"], sum(due) / row["push"])
                seen += 0 < row["share"] < 1
        self.assertGreater(seen, 0)

    def scored_by(self, folder, rollouts):
        done = run("score", folder / "config.toml", "--rollouts", rollouts, "--out", "-")
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]
