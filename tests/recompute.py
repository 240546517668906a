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


def solve(rows, right):
    """Gauss, for the normal equations of a small fit."""
    table = [list(row) + [value] for row, value in zip(rows, right)]
    n = len(table)
    for i in range(n):
        pivot = max(range(i, n), key=lambda r: abs(table[r][i]))
        table[i], table[pivot] = table[pivot], table[i]
        for r in range(n):
            if r != i:
                factor = table[r][i] / table[i][i]
                table[r] = [a - factor * b for a, b in zip(table[r], table[i])]
    return [table[i][n] / table[i][i] for i in range(n)]


def optimum(answers, within):
    """The length of highest accuracy, of (group, length, right), by least squares with a dummy for each group where it is
    `within`; None where the fit does not rise and fall between the 5th and the 95th percentile."""
    groups = {}
    for group, length, right in answers:
        groups.setdefault(group if within else 0, []).append((math.log(length), float(right)))
    if within:
        counts = {}
        for group, _, _ in answers:
            counts[group] = counts.get(group, 0) + 1
        groups = {group: rows for group, rows in groups.items() if counts[group] > 1}
    logs = [x for rows in groups.values() for x, _ in rows]
    middle = quantile(logs, 0.5)
    sums = [[0, 0], [0, 0]]
    right_sums = [0, 0]
    for rows in groups.values():
        features = [(x - middle, (x - middle) ** 2) for x, _ in rows]
        means = [statistics.fmean(column) for column in zip(*features)]
        mean_right = statistics.fmean(right for _, right in rows)
        for feature, (_, right) in zip(features, rows):
            centred = [value - average for value, average in zip(feature, means)]
            for i in range(2):
                right_sums[i] += centred[i] * (right - mean_right)
                for j in range(2):
                    sums[i][j] += centred[i] * centred[j]
    b, c = solve(sums, right_sums)
    if c >= 0:
        return None
    peak = -b / (2 * c)
    inside = quantile(logs, 0.05) - middle <= peak <= quantile(logs, 0.95) - middle
    return math.exp(peak + middle) if inside else None


def pair(first, second):
    """Of rows of two evaluations: mean difference of accuracy over shared problems, ratio of the mean lengths."""
    sides = []
    for rows in (first, second):
        side = {}
        for row in rows:
            side.setdefault(row["problem"], []).append(row)
        sides.append(side)
    shared = sorted(sides[0].keys() & sides[1].keys())
    accuracy = [[mean([row["correct"] for row in side[problem]]) for problem in shared] for side in sides]
    lengths = [[mean([row["num_tokens"] for row in side[problem]]) for problem in shared] for side in sides]
    difference = mean([b - a for a, b in zip(*accuracy)])
    return len(shared), difference, mean(lengths[1]) / mean(lengths[0])


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
