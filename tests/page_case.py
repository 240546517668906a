"""Two short runs with everything that a report can show, and a browser: what tests/page.py and tests/serve.py share."""

import argparse
import math
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

from browser import Browser

ROOT = pathlib.Path(__file__).resolve().parent.parent


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", nargs="?", default=ROOT / "build/release", type=pathlib.Path)
    parser.add_argument("names", nargs="*", help="tests to run, as unittest has them")
    parser.add_argument("--runs", nargs="+", type=lambda one: pathlib.Path(one).resolve(),
                        help="look at these, as tools/quickstart leaves them, instead of two that are made here")
    parser.add_argument("--screenshots", type=lambda one: pathlib.Path(one).resolve(), help="a folder for pictures of the page")
    return parser.parse_args()


OPTIONS = parse_arguments()
VERNIER = OPTIONS.build.resolve() / "vernier"
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


def need_browser():
    """Ends with the code that ctest takes for skipped where there is none."""
    if shutil.which("chromedriver") is None:
        print("skipped: chromedriver is not installed (tools/setup browser)")
        sys.exit(77)


def main():
    need_browser()
    unittest.main(argv=[sys.argv[0], *OPTIONS.names], verbosity=2)


class Case(unittest.TestCase):
    runs = None

    @classmethod
    def setUpClass(cls):
        """The runs that are asked for, or two short ones from one start, with everything that a report can show."""
        if Case.runs is None:
            Case.browser = Browser()
            unittest.addModuleCleanup(Case.browser.close)
            if OPTIONS.runs:
                Case.runs = OPTIONS.runs
                return
            folder = pathlib.Path(tempfile.mkdtemp(prefix="vernier-page-"))
            unittest.addModuleCleanup(shutil.rmtree, folder, ignore_errors=True)
            more = ["--set", "eval.budgets=[4, 8, 16, 60]", "--set", "eval.n=2", "--set", "log.rollouts.every=2",
                    "--set", "run.eval_every=3"]
            done = run("train", SMOKE, "--run", folder / "drpo", *more)
            assert done.returncode == 0, done.stderr[-3000:]
            config = folder / "penalty.toml"
            config.write_text(PENALTY.format(start=folder / "drpo/checkpoint-0"))
            done = run("train", config, "--run", folder / "penalty", *more)
            assert done.returncode == 0, done.stderr[-3000:]
            Case.runs = [folder / "drpo", folder / "penalty"]

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vernier-page-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def assert_no_errors(self, *allowed):
        bad = [one["message"] for one in self.browser.log() if one["level"] == "SEVERE" and
               not any(part in one["message"] for part in allowed)]
        self.assertEqual(bad, [])

    def write(self, name, text):
        (self.folder / name).write_text(text)
        return self.folder / name

    def assert_near(self, one, other, what="", tolerance=1e-9):
        if one is None or other is None:
            return self.assertEqual(one, other, what)
        self.assertTrue(math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance), f"{what}: {one} is not {other}")
