"""tools/reproduce: studies run to their end with a few steps and prompts, and their numbers are made as they say.

    python3 tests/studies.py BUILD_FOLDER [NAME ...]

Without names the three studies that take least; `python3 tests/studies.py BUILD all` takes some minutes.

Standard library only.
"""

import math
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / "build/release"
sys.path.insert(0, str(ROOT / "tools"))

from papers import drpo, more_is_less, requested, study, surrogate  # noqa: E402

ALL = ["drpo", "dot", "surrogate", "more_is_less", "requested", "generalisation", "easy_to_hard", "yap", "controlled"]
NAMES = sys.argv[2:] or ["surrogate", "requested", "easy_to_hard"]


def policy(accuracy, length):
    return study.Policy([[(accuracy, length)] * 3] * 2)


class Numbers(unittest.TestCase):
    def test_the_efficiency_score_has_the_golden_values(self):
        for values, want in (
            ((0.624, 1527, 0.649, 3494), 0.177757),
            ((0.714, 1502, 0.733, 3055), 0.249138),
            ((0.567, 2531, 0.590, 3428), -0.128162),
            ((0.692, 2649, 0.702, 2975), -0.032870),
        ):
            self.assertAlmostEqual(study.aes(policy(*values[:2]), policy(*values[2:])), want, 6)
        self.assertAlmostEqual(study.aes(policy(0.6, 50), policy(0.5, 100)), 0.5 + 3 * 0.2)

    def test_intervals_hold_the_mean_as_often_as_they_say(self):
        generator = random.Random(7)
        held = 0
        for _ in range(60):
            prompts = [generator.gauss(1, 1) for _ in range(200)]
            rows = [[p + generator.gauss(0, 0.5) for p in prompts] for _ in range(3)]
            low, high = study.interval(rows, 200)
            held += low <= 1 <= high
        self.assertGreaterEqual(held, 51)

    def test_the_peak_of_a_parabola_is_found(self):
        generator = random.Random(3)
        rows = []
        for _ in range(4000):
            tokens = generator.randrange(4, 100)
            right = 0.9 - 0.2 * (math.log(tokens) - math.log(30)) ** 2
            rows.append(more_is_less.Answer(4, tokens, generator.random() < right, True, len(rows) // 4))
        rows.append(more_is_less.Answer(4, 120, False, False, 0))  # cut: not looked at
        found = more_is_less.fit(rows)
        self.assertTrue(27 <= int(found.split()[0]) <= 33, found)
        self.assertTrue(more_is_less.inverted(more_is_less.binned(rows)))
        self.assertEqual(more_is_less.fit([row._replace(right=row.tokens > 50) for row in rows]), "none")

    def test_accuracy_at_a_length_lies_between_its_neighbours(self):
        front = [policy(0.9, 40), policy(0.5, 20), policy(0.2, 10)]
        self.assertEqual(drpo.at_length(front, 30), "0.700 (0.500, 0.900)")
        self.assertEqual(drpo.at_length(front, 9), "not reached")

    def test_matches_are_counted_by_prompt(self):
        answers = [[(10, 10, True, 0), (10, 13, True, 0), (20, 23, True, 1), (20, 24, False, 1)]]
        targets = [{"name": 10, "precise": [8, 12]}, {"name": 20, "precise": [17, 23]}]
        self.assertEqual(requested.hits(answers, targets, "precise"), [[0.5, 0.5]])

    def test_a_section_is_replaced_and_the_rest_stays(self):
        with tempfile.TemporaryDirectory() as folder:
            page = pathlib.Path(folder) / "page.md"
            page.write_text("before\n<!-- tools/reproduce x -->\nold\n<!-- end of x -->\nafter\n")
            for _ in range(2):
                study.write_section(page, "x", "new")
            self.assertEqual(page.read_text(), "before\n<!-- tools/reproduce x -->\nnew\n<!-- end of x -->\nafter\n")
            with self.assertRaises(SystemExit):
                study.write_section(page, "y", "new")


class Studies(unittest.TestCase):
    def test_studies_run_to_their_end(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder)
            page = (ROOT / "docs/results.md").read_bytes()
            for name in NAMES:
                done = subprocess.run(
                    [ROOT / "tools/reproduce", name, "--quick", "--seeds", "1", "--out", out, "--vernier", BUILD / "vernier"],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                self.assertEqual(done.returncode, 0, done.stderr[-3000:] + done.stdout[-1000:])
                for one in ALL if name == "all" else [name]:
                    self.assertEqual((out / "pictures" / f"{one}.png").read_bytes()[:4], b"\x89PNG", one)
                    self.assertIn(f"`tools/reproduce {one}`", done.stdout)
                if name == "surrogate":
                    for variant in surrogate.VARIANTS:
                        self.assertIn(f"| {variant} | ", done.stdout)
            self.assertEqual((ROOT / "docs/results.md").read_bytes(), page)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
