"""Reward functions as other toolkits take them."""

import sys


def trl_lengths(prompts, completions, answer, **kwargs):
    print("this goes to the log")
    assert prompts[0] == "How many?" and answer == ["7"] * len(completions)
    return [None if text == "none" else float(len(text)) for text in completions]


def trl_few(completions):
    return [1.0]


def trl_raises(completions, **kwargs):
    raise ValueError("nothing to say")


async def verl_points(data_source, solution_str, ground_truth, extra_info=None):
    assert data_source == "" and extra_info is None
    return {"score": float(solution_str == ground_truth), "length": len(solution_str), "note": "x"}


class Tensor:
    def __init__(self, values):
        self.values = values

    def tolist(self):
        return self.values


def openrlhf_lengths(queries, prompts, labels):
    input_left = sys.stdin.read()  # nothing of the protocol
    assert input_left == "" and labels[0] == "7"
    lengths = [len(query) - len(prompt) for query, prompt in zip(queries, prompts)]
    return {"rewards": Tensor(lengths), "scores": Tensor(lengths), "extra_logs": {"twice": Tensor([2 * x for x in lengths])}}


def not_finite(completions, **kwargs):
    return [float("nan")] * len(completions)


def verl_surrogate(solution_str, **kwargs):
    if solution_str == "none":
        return {"score": 1.0, "part\ud83d": 2.0}
    raise ValueError("caf\u00e9 \ud800.")


def trl_leaves(completions, **kwargs):
    sys.exit(4)


def trl_ends(completions, **kwargs):
    sys.exit(0)
