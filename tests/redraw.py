"""Intervals and p-values of a report again: the same draws, by Philox, and everything after them in plain Python."""

import functools
import math
import statistics

from recompute import quantile

BOOTSTRAP, PERMUTATION = 6, 10  # core/base/rng.h: Stream
DRAWS, SEED = 2000, 1
WORD, HALF = 2**64 - 1, 2**32 - 1


def mix(state, word):
    z = (state + 0x9E3779B97F4A7C15 + word * 0xD1342543DE82EF95) & WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return z ^ (z >> 31)


def bits(key, position):
    """64 bits of Philox4x32-10."""
    a, b, c, d = position & HALF, position >> 32, 0, 0
    low, high = key & HALF, key >> 32
    for _ in range(10):
        left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (right >> 32) ^ b ^ low, right & HALF, (left >> 32) ^ d ^ high, left & HALF
        low, high = (low + 0x9E3779B9) & HALF, (high + 0xBB67AE85) & HALF
    return (b << 32) | a


def key_of(stream, draw):
    return mix(mix(mix(mix(SEED, stream), draw), 0), 0)


@functools.lru_cache(maxsize=16)
def places(count):
    """Which of `count` prompts each draw takes."""
    out = []
    for draw in range(DRAWS):
        key = key_of(BOOTSTRAP, draw)
        out.append([(bits(key, i) * count) >> 64 for i in range(count)])
    return out


def bounds(values):
    values = [value for value in values if value is not None]
    return (quantile(values, 0.025), quantile(values, 0.975)) if values else (None, None)


def interval(count, value):
    """Of a number that `value` gives for places of prompts."""
    return bounds([value(drawn) for drawn in places(count)])


def mean_interval(prompts):
    """Of the ratio of sums to counts; `prompts` holds (sum, count)."""
    sums, counts = [one[0] for one in prompts], [one[1] for one in prompts]

    def value(drawn):
        count = sum(map(counts.__getitem__, drawn))
        return sum(map(sums.__getitem__, drawn)) / count if count else None

    return interval(len(prompts), value)


def by_prompt(rows, value, key="group"):
    """(sum, count) of each prompt, by group."""
    out = {}
    for row in rows:
        before = out.get(row[key], (0, 0))
        out[row[key]] = (before[0] + value(row), before[1] + 1)
    return [out[group] for group in sorted(out)]


def sign_flip_p(differences):
    sizes = [abs(one) for one in differences if one]
    if not sizes:
        return 1
    reached = abs(sum(differences)) - 1e-12 * sum(sizes)
    if len(sizes) <= 16:
        sums = [0]
        for size in sizes:
            sums = [one + sign * size for one in sums for sign in (1, -1)]
        return sum(abs(one) >= reached for one in sums) / len(sums)
    hits = 1
    for draw in range(DRAWS):
        key, total = key_of(PERMUTATION, draw), 0
        for i, size in enumerate(sizes):
            if i % 64 == 0:
                signs = bits(key, i // 64)
            total += size if signs >> (i % 64) & 1 else -size
        hits += abs(total) >= reached
    return hits / (DRAWS + 1)


def holm(values):
    order = sorted(range(len(values)), key=values.__getitem__)
    out, least = [0] * len(values), 0
    for i, place in enumerate(order):
        least = max(least, min(1, (len(values) - i) * values[place]))
        out[place] = least
    return out


def length_control(preferences, lengths, difficulties, counts=None):
    """theta, phi, psi by Newton, and the mean chance of a win at equal lengths."""
    scale, level = statistics.stdev(lengths), statistics.fmean(difficulties)
    rows = [(1, math.tanh(d / scale) if scale else 0, g - level) for d, g in zip(lengths, difficulties)]
    counts = counts or [1] * len(rows)
    used = [(row, p, n) for row, p, n in zip(rows, preferences, counts) if n]
    weights = [0.0, 0.0, 0.0]
    for _ in range(60):
        slope, curve = list(weights), [[float(i == j) for j in range(3)] for i in range(3)]
        for row, p, n in used:
            q = 1 / (1 + math.exp(-sum(map(lambda a, b: a * b, weights, row))))
            off, bend = n * (q - p), n * q * (1 - q)
            for i in range(3):
                slope[i] += off * row[i]
                for j in range(3):
                    curve[i][j] += bend * row[i] * row[j]
        step = solved(curve, slope)
        weights = [a - b for a, b in zip(weights, step)]
        if max(map(abs, step)) < 1e-10:
            break
    chance = sum(n / (1 + math.exp(-weights[0] - weights[2] * row[2])) for row, _, n in used) / sum(n for _, _, n in used)
    return weights, chance, math.sqrt(solved(curve, [0, 1, 0])[1])


def solved(rows, right):
    """Cramer's rule for three unknowns."""
    def det(m):
        return (m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
                + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]))

    whole = det(rows)
    return [det([[right[i] if j == k else rows[i][j] for j in range(3)] for i in range(3)]) / whole for k in range(3)]


def length_control_intervals(preferences, lengths, difficulties):
    """Of the share of wins, and of it at equal lengths."""
    wins, controlled = [], []
    for drawn in places(len(preferences)):
        counts = [0] * len(preferences)
        for place in drawn:
            counts[place] += 1
        wins.append(sum(preferences[place] for place in drawn) / len(drawn))
        controlled.append(length_control(preferences, lengths, difficulties, counts)[1])
    return bounds(wins), bounds(controlled)


def moments(rows):
    """Of (x, y): n, x, x2, x3, x4, y, xy, x2y."""
    return [sum(column) for column in zip(*((1, x, x * x, x**3, x**4, y, x * y, x * x * y) for x, y in rows))]


def centred(m):
    n, x, x2, x3, x4, y, xy, x2y = m
    return [x2 - x * x / n, x3 - x * x2 / n, x4 - x2 * x2 / n, xy - x * y / n, x2y - x2 * y / n]


def peak(sums):
    """Where b x + c x^2 of least squares is highest; None where it has no highest point."""
    xx, xx2, x2x2, xy, x2y = sums
    determinant = xx * x2x2 - xx2 * xx2
    if determinant <= 1e-9 * xx * x2x2:
        return None
    b, c = (xy * x2x2 - x2y * xx2) / determinant, (x2y * xx - xy * xx2) / determinant
    return -b / (2 * c) if c < 0 else None


def optimum(answers, within):
    """The length of highest accuracy of (question, length, right), the share of draws that have one, and their interval. A
    line for each question where it is `within`; a peak counts between the 5th and the 95th percentile."""
    questions = {}
    for question, length, right in answers:
        questions.setdefault(question, []).append((math.log(length), float(right)))
    if within:
        questions = {question: rows for question, rows in questions.items() if len(rows) > 1}
    logs = [x for rows in questions.values() for x, _ in rows]
    if len(logs) < 30:
        return None, 0, (None, None)
    middle = quantile(logs, 0.5)
    low, high = (quantile(logs, share) - middle for share in (0.05, 0.95))
    sums = [moments([(x - middle, y) for x, y in rows]) for _, rows in sorted(questions.items())]
    if within:
        sums = [centred(one) for one in sums]

    def value(drawn):
        total = [sum(column) for column in zip(*(sums[i] for i in drawn))]
        place = peak(total if within else centred(total))
        return math.exp(place + middle) if place is not None and low <= place <= high else None

    drawn = [value(one) for one in places(len(sums))]
    return value(range(len(sums))), sum(one is not None for one in drawn) / DRAWS, bounds(drawn)


def power_law_error(points, a, b, c):
    return math.sqrt(statistics.fmean((a * x**b + c - y) ** 2 for x, y in points))


def optimal_steps(difficulty, capacity):
    """Where (1 - T/C)^... peaks: T Z / (Z + 1), Z e^Z = -(1 - T/C) / e on the lower branch, by bisection."""
    wanted = -(1 - difficulty / capacity) / math.e
    low, high = -700.0, -1.0  # z e^z falls from 0 to -1/e
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if middle * math.exp(middle) < wanted else (middle, high)
    z = (low + high) / 2
    return difficulty * z / (z + 1)
