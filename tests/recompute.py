"""The numbers of a report again, from the files of its runs, in plain Python. The standard library alone."""

import json
import math
import statistics


def lines_of(path):
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def mean(values):
    return statistics.fmean(values) if values else None


def quantile(values, share):
    values = sorted(values)
    place = share * (len(values) - 1)
    low = math.floor(place)
    return values[low] + (place - low) * (values[min(low + 1, len(values) - 1)] - values[low])


def frontier(points):
    """Of (length, accuracy): those that no other beats in both ways, by length."""
    out = []
    for length, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not out or accuracy > out[-1][1]:
            out.append((length, accuracy))
    return out


def area(points, shortest, longest):
    best, out = 0, 0
    points = sorted(points)
    for k, (length, accuracy) in enumerate(points):
        best = max(best, accuracy)
        begin = max(length, shortest)
        end = min(points[k + 1][0], longest) if k + 1 < len(points) else longest
        out += best * (math.log2(end) - math.log2(begin)) if end > begin else 0
    return out / math.log2(longest / shortest)


def by_problem(rows):
    out = {}
    for row in rows:
        out.setdefault(row["problem"], []).append(row)
    return out


def efficiency(reference_accuracy, accuracy, reference_length, length):
    """AES, with 3 for a gain and 10 for a loss."""
    change = accuracy / reference_accuracy - 1
    return 1 - length / reference_length + (3 if change >= 0 else 10) * change


def histogram(rows, width, bins, right):
    counts = [0] * bins
    for row in rows:
        if row["correct"] is right:
            counts[int(row["num_tokens"] / width)] += 1
    return counts


def ranks(rows):
    """Of judged answers to one question: rank of the length in (0, 1), ties in the middle, and whether it is right, centred."""
    lengths = [row["num_tokens"] for row in rows]
    average = mean([row["correct"] for row in rows])
    return [((sum(other < row["num_tokens"] for other in lengths) + lengths.count(row["num_tokens"]) / 2) / len(rows),
             row["correct"] - average) for row in rows]


def running(values, width):
    """Means over `width` values around each, of those that are there."""
    reach = width // 2
    return [None if value is None else mean([one for one in values[max(0, k - reach):k + reach + 1] if one is not None])
            for k, value in enumerate(values)]
