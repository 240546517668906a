"""A reward function in a file that is called as a standard module is, which it imports."""

import statistics

from neighbour import length


def trl_named(completions, **kwargs):
    return [float(statistics.mean([length(text)])) for text in completions]
