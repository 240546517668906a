#!/usr/bin/env python3
"""Runs a reward function written for TRL, verl or OpenRLHF, unchanged, as a reward of type "program".

    [[reward]]
    type = "program"
    command = ["python3", "tools/reward_adapter.py", "my_rewards.py:reward_func", "--style", "trl"]

FILE:FUNC is a Python file, or a module, and the function in it.

  trl       reward_func(prompts, completions, **columns) -> list; None abstains. Columns of the row come as
            lists; prompt and completion come as lists of messages where the row's prompt is one.
  verl      compute_score(data_source, solution_str, ground_truth, extra_info) -> number, or dict with "score"
            whose other numbers become components
  openrlhf  reward_func(queries, prompts, labels) -> list or tensor, or dict with "rewards", "scores" and
            "extra_logs"

The function may be async. What it prints goes to the log. What it raises is an abstention, counted as a
failure. With needs_group = true a call holds the responses of a group, else one response.
"""

import argparse
import asyncio
import contextlib
import importlib
import importlib.util
import inspect
import json
import math
import os
import pathlib
import sys

ANSWERS = ("answer", "label", "solution", "ground_truth")
PROMPTS = ("prompt", "question", "problem", "input")


def load(place):
    name, _, function = place.rpartition(":")
    if not name or not function:
        sys.exit(f"reward_adapter: {place}: expected FILE:FUNC")
    if name.endswith(".py"):
        path = pathlib.Path(name)
        if not path.is_file():
            sys.exit(f"reward_adapter: {path}: no such file")
        name = path.stem
        # A file statistics.py may import the standard module of that name, as may what it imports: that goes first.
        if name in getattr(sys, "stdlib_module_names", ()):  # Python 3.10
            with contextlib.suppress(ImportError):  # of another system
                importlib.import_module(name)
        # As if the file were run: what lies beside it can be imported, and processes that it starts find it by its name.
        sys.path.insert(0, str(path.resolve().parent))
        if name in sys.modules:
            name = f"vernier_reward_of_{name}"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, os.getcwd())
        module = importlib.import_module(name)
    if not callable(getattr(module, function, None)):
        sys.exit(f"reward_adapter: {name} has no function {function}")
    return getattr(module, function)


def call(function, *positional, **named):
    """Calls with those of the named arguments that the function takes."""
    parameters = inspect.signature(function).parameters.values()
    if not any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
        known = {parameter.name for parameter in parameters}
        named = {name: value for name, value in named.items() if name in known}
    result = function(*positional, **named)
    return asyncio.run(result) if inspect.isawaitable(result) else result


def plain(value):
    """Tensors and arrays as lists and numbers."""
    return value.tolist() if hasattr(value, "tolist") else value


def answer_of(row):
    for name in ANSWERS:
        if row.get(name) is not None:
            return row[name]
    model = row.get("reward_model")
    return model.get("ground_truth") if isinstance(model, dict) else None


def reward(score, components=None):
    if score is None:
        return {"abstain": "the reward function returned None"}
    score = float(score)
    if not math.isfinite(score):
        return {"abstain": "the score is not a finite number", "failed": "nan"}
    components = {name: float(value) for name, value in (components or {}).items()
                  if isinstance(value, (int, float)) and math.isfinite(value)}
    return {"score": score, "components": components}


def as_list(result, count):
    result = plain(result)
    if not isinstance(result, (list, tuple)):
        raise TypeError(f"the reward function returned {type(result).__name__}, not a list")
    if len(result) != count:
        raise Wrong("count", f"{len(result)} rewards for {count} responses")
    return [plain(one) for one in result]


class Wrong(Exception):
    def __init__(self, cause, why):
        super().__init__(why)
        self.cause = cause


def trl(function, request):
    row, responses = request["row"], request["responses"]
    count = len(responses)
    messages = next((row[name] for name in PROMPTS if isinstance(row.get(name), list)), None)
    texts = [response["text"] for response in responses]
    completions = texts if messages is None else [[{"role": "assistant", "content": text}] for text in texts]
    columns = {name: [value] * count for name, value in row.items() if name not in ("prompt", "completion")}
    columns["completion_ids"] = [response["ids"] for response in responses]
    columns["completions"] = completions
    columns["prompts"] = [request["prompt"] if messages is None else messages] * count
    return [reward(score) for score in as_list(call(function, **columns), count)]


def verl(function, request):
    row, out = request["row"], []
    for response in request["responses"]:
        try:  # it is a function of one response: the others keep theirs
            result = plain(call(function, data_source=row.get("data_source", ""), solution_str=response["text"],
                                ground_truth=answer_of(row), extra_info=row.get("extra_info")))
        except Exception as problem:
            out.append({"abstain": f"{type(problem).__name__}: {problem}", "failed": "threw"})
            continue
        if isinstance(result, dict):
            out.append(reward(plain(result["score"]), {k: plain(v) for k, v in result.items() if k != "score"}))
        else:
            out.append(reward(result))
    return out


def openrlhf(function, request):
    texts = [response["text"] for response in request["responses"]]
    count, prompt, label = len(texts), request["prompt"], answer_of(request["row"])
    result = call(function, [prompt + text for text in texts], [prompt] * count, [label] * count)
    extra = {}
    if isinstance(result, dict):
        extra = dict(result.get("extra_logs") or {})
        if result.get("scores") is not None:
            extra["score"] = result["scores"]
        result = result["rewards"]
    scores = as_list(result, count)
    extra = {name: plain(values) for name, values in extra.items()}
    extra = {name: values for name, values in extra.items() if isinstance(values, list) and len(values) == count}
    return [reward(score[0] if isinstance(score, list) else score, {name: values[i] for name, values in extra.items()})
            for i, score in enumerate(scores)]


def main():
    parser = argparse.ArgumentParser(prog="reward_adapter.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", metavar="FILE:FUNC")
    parser.add_argument("--style", choices=("trl", "verl", "openrlhf"), required=True)
    options = parser.parse_args()
    # Questions and answers go over files of their own: what the function reads or prints is not in their way.
    questions = os.fdopen(os.dup(0), "r", encoding="utf-8")
    # Texts of exceptions may hold lone surrogates, which are no JSON: they become question marks.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    function = load(options.place)
    style = {"trl": trl, "verl": verl, "openrlhf": openrlhf}[options.style]
    for line in questions:
        request = json.loads(line)
        try:
            rewards = style(function, request)
        except Exception as problem:  # whatever a reward function may raise
            cause = problem.cause if isinstance(problem, Wrong) else "threw"
            why = str(problem) if isinstance(problem, Wrong) else f"{type(problem).__name__}: {problem}"
            rewards = [{"abstain": why, "failed": cause}] * len(request["responses"])
        answers.write(json.dumps({"id": request["id"], "rewards": rewards}, ensure_ascii=False) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
