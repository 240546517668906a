"""A reward function that works in another process, started anew."""

import concurrent.futures
import multiprocessing

from neighbour import length


def trl_pooled(completions, **kwargs):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return [float(one) for one in pool.map(score, completions)]


def score(text):
    return length(text)
