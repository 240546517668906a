"""A reward function in a file that is called as a standard module is."""

import json

from neighbour import length


def trl_named(completions, **kwargs):
    return [float(length(json.loads(json.dumps(text)))) for text in completions]
