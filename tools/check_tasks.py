"""Every task family against another program: answers by another route, chains of thought state by state.

    python3 tools/check_tasks.py [--vernier build/release/vernier] [--count 1000] [TASK ...]

For every tier of every family, distinct instances from `vernier prompts` are answered here from their question alone (by brute
force, by a closed form or by the standard library), and the chain of their demonstration is written again. Train and test have no
instance in common. Prints a line a tier; fewer than COUNT stand for all that there are. The standard library alone.
"""

import argparse
import collections
import functools
import itertools
import json
import math
import re
import subprocess
import sys
from fractions import Fraction

State = collections.namedtuple("State", "input computation output variables remaining", defaults=("",) * 5)
FORMATS = [
    {},
    {"linear": "false"},
    {"atomic": "false"},
    {"input": "false", "computation": "false"},
    {"output": "false", "variables": "false", "remaining": "true"},
]


def numbers(text):
    return [int(one) for one in re.findall(r"\d+", text)]


def comma(*values):
    return ",".join(map(str, values))


def chain_text(states, chosen):
    """The states in one of FORMATS."""
    on = {"linear": True, "atomic": True, "input": True, "computation": True, "output": True, "variables": True, "remaining": False}
    on |= {key: value == "true" for key, value in chosen.items()}
    if not on["atomic"]:
        pairs = [states[i:i + 2] for i in range(0, len(states), 2)]
        states = [two[0] if len(two) == 1 else
                  two[1]._replace(input=comma(*(one.input for one in two if one.input)),
                                  output=comma(*(one.output for one in two if one.output))) for two in pairs]
    out = ""
    for i, state in enumerate(states):
        if not on["linear"] and (len(states) - 1 - i) % 2:
            continue
        out += f"{i + 1}:" if on["linear"] else ""
        out += f"[{state.input}]" if on["input"] and state.input else ""
        out += state.computation if on["computation"] else ""
        out += f">{state.output}" if on["output"] and state.output else ""
        out += f"{{{state.variables}}}" if on["variables"] and state.variables else ""
        out += f"|{state.remaining}" if on["remaining"] and state.remaining else ""
        out += ";"
    return out


def addition(question):
    left, right = question[:-1].split("+")
    places = max(len(one.partition(".")[2]) for one in (left, right))
    left, right = ((whole + part.ljust(places, "0")) for whole, _, part in (one.partition(".") for one in (left, right)))
    answer = str(int(left) + int(right)).zfill(places + 1)
    answer = f"{answer[:-places]}.{answer[-places:]}" if places else answer
    size = max(len(left), len(right))
    left, right = left.zfill(size), right.zfill(size)
    states, carry = [], 0
    for end in range(size, 0, -1):
        a, b = int(left[end - 1]), int(right[end - 1])
        total = a + b + carry
        rest = f"{left[:end - 1]}+{right[:end - 1]}" if end > 1 else ""
        states.append(State(comma(a, b, carry), f"{a}+{b}+{carry}={total}", str(total % 10), str(total // 10), rest))
        carry = total // 10
    return answer, states


def division(question):
    dividend, divisor = question[:-1].split("/")
    divisor = int(divisor)
    states, rest = [], 0
    for i, digit in enumerate(dividend):
        value = rest * 10 + int(digit)
        states.append(State(f"{rest},{digit}", f"{value}/{divisor}={value // divisor}", str(value // divisor), str(value % divisor),
                            dividend[i + 1:]))
        rest = value % divisor
    return "{}r{}".format(*divmod(int(dividend), divisor)), states


def bubble_sort(question):
    items = numbers(question)
    answer = comma(*sorted(items))
    states = []
    for end in range(len(items) - 1, 0, -1):
        for i in range(end):
            a, b = items[i:i + 2]
            items[i:i + 2] = sorted((a, b))
            states.append(State(comma(a, b), f"{a}>{b}" if a > b else f"{a}<={b}", comma(*items[i:i + 2]), comma(*items), str(end - i)))
    return answer, states


def word_flip(question):
    word = question[:-1]
    return word[::-1], [State(str(i + 1), "", word[i], "", word[:i]) for i in reversed(range(len(word)))]


def compare_numbers(question):
    left, right = question[:-1].split("?")

    def sign(a, b):
        return "<" if a < b else ">" if a > b else "="

    whole = [len(one.split(".")[0]) for one in (left, right)]
    states = [State("", f"{whole[0]}{sign(*whole)}{whole[1]}", sign(*whole))]
    left_digits, right_digits = left.replace(".", ""), right.replace(".", "")
    if whole[0] == whole[1]:
        for i, (a, b) in enumerate(zip(left_digits, right_digits)):
            states.append(State(comma(a, b), f"{a}{sign(a, b)}{b}", sign(a, b), "", left_digits[i + 1:]))
            if a != b:
                break
    return sign(Fraction(left), Fraction(right)), states


def substrings(question):
    word = question[:-1]
    spans = list(itertools.combinations(range(len(word) + 1), 2))
    states = [State(f"{word[a:b - 1]},{word[b - 1]}", f"{word[a:b - 1]}+{word[b - 1]}", word[a:b], str(a + 1), word[b:]) for a, b in spans]
    return comma(*(word[a:b] for a, b in spans)), states


def derangements(question):
    n, modulus = numbers(question)
    answer = sum((-1) ** k * math.factorial(n) // math.factorial(k) for k in range(n + 1)) % modulus  # inclusion and exclusion
    values = [1, 0]
    for k in range(2, n + 1):
        values.append((k - 1) * (values[-1] + values[-2]) % modulus)
    states = [State(comma(values[k - 2], values[k - 1]), f"{k - 1}*({values[k - 1]}+{values[k - 2]})%{modulus}={values[k]}",
                    str(values[k]), str(k), str(n - k)) for k in range(2, n + 1)]
    return str(answer), states


def growth(question):
    population, rate, more, units = numbers(question)
    states = []
    for unit in range(1, units + 1):
        born = math.floor(Fraction(population * rate, 100))
        states.append(State(str(population), f"{population}+{born}+{more}={population + born + more}", str(population + born + more),
                            str(unit), str(units - unit)))
        population += born + more
    return str(population), states


def dijkstra(question):
    ways = {}
    text, target = question[:-1].split(":")
    for a, b, length in (re.fullmatch(r"(.)(.)(\d+)", one).groups() for one in text.split(",")):
        ways.setdefault(a, {})[b] = ways.setdefault(b, {})[a] = int(length)
    vertices = sorted(ways)
    best = {one: 0 if one == "a" else math.inf for one in vertices}  # Bellman and Ford
    for _ in vertices:
        for a in vertices:
            for b, length in ways[a].items():
                best[b] = min(best[b], best[a] + length)
    known, done, states = {"a": 0}, set(), []

    def open_ones():
        return comma(*(f"{one}{known[one]}" for one in sorted(known) if one not in done))

    while target not in done:
        before = open_ones()
        nearest = min((one for one in known if one not in done), key=lambda one: (known[one], one))
        done.add(nearest)
        work = []
        for other, length in sorted(ways[nearest].items()):
            if other not in done:
                there = known[nearest] + length
                work.append(f"{other}{known[nearest]}+{length}={there}")
                known[other] = min(known.get(other, math.inf), there)
        states.append(State(before, comma(*work), f"{nearest}{known[nearest]}", open_ones()))
    return str(best[target]), states


def schedule(question):
    machines, *jobs = numbers(question)
    loads, states = [0] * machines, []
    for i, job in enumerate(jobs):
        first, before = loads.index(min(loads)), list(loads)
        loads[first] += job
        states.append(State(str(job), f"min({comma(*before)})={before[first]},{before[first]}+{job}={loads[first]}", str(first + 1),
                            comma(*loads), comma(*jobs[i + 1:])))
    return str(max(loads)), states


def count_letters(question):
    word, wanted = question[:-1].split(":")
    states = [State(one, f"{one}{'=' if one == wanted else '!='}{wanted}", str(int(one == wanted)), str(word[:i + 1].count(wanted)),
                    word[i + 1:]) for i, one in enumerate(word)]
    return str(word.count(wanted)), states


def diophantine(question):
    a, b, n = numbers(question)
    answer = sum(a * x + b * y == n for x in range(n + 1) for y in range(n + 1))
    states, count = [], 0
    for x in range(n // a + 1):
        rest = n - a * x
        count += rest % b == 0
        states.append(State(str(x), f"{n}-{a}*{x}={rest},{rest}%{b}={rest % b}", str(int(rest % b == 0)), str(count), str(n // a - x)))
    return str(answer), states


def primes(question):
    low, high = numbers(question)
    sieve = [False, False] + [True] * (high - 1)
    for one in range(2, high + 1):
        for other in range(2 * one, high + 1, one):
            sieve[other] = False
    states, count = [], 0
    for one in range(low, high + 1):
        factor = next(k for k in range(2, one + 1) if one % k == 0)
        count += factor == one
        states.append(State(str(one), f"{one}p" if factor == one else f"{one}={factor}*{one // factor}", str(int(factor == one)),
                            str(count), str(high - one)))
    return str(sum(sieve[low:])), states


def knapsack(question):
    room, *flat = numbers(question)
    things = list(zip(flat[::2], flat[1::2]))
    answer = max(sum(value for _, value in chosen) for size in range(len(things) + 1)
                 for chosen in itertools.combinations(things, size) if sum(weight for weight, _ in chosen) <= room)
    row, states = [0] * (room + 1), []
    for i, (weight, value) in enumerate(things):
        above = list(row)
        for c in range(1, room + 1):
            if weight > c:
                states.append(State(str(above[c]), "", str(above[c]), comma(i + 1, c)))
                continue
            rest = above[c - weight]
            row[c] = max(above[c], rest + value)
            states.append(State(comma(above[c], rest), f"max({above[c]},{rest}+{value})={row[c]}", str(row[c]), comma(i + 1, c)))
    return str(answer), states


def common_subsequence(question):
    a, b = question[:-1].split(",")

    @functools.cache
    def longest(i, j):
        if i == len(a) or j == len(b):
            return 0
        return 1 + longest(i + 1, j + 1) if a[i] == b[j] else max(longest(i + 1, j), longest(i, j + 1))

    table, states = [[0] * (len(b) + 1) for _ in range(len(a) + 1)], []
    for i, j in itertools.product(range(len(a)), range(len(b))):
        up, left, corner = table[i][j + 1], table[i + 1][j], table[i][j]
        value = corner + 1 if a[i] == b[j] else max(up, left)
        table[i + 1][j + 1] = value
        work = f"{corner}+1={value}" if a[i] == b[j] else f"max({up},{left})={value}"
        states.append(State(comma(a[i], b[j], up, left, corner), work, str(value), comma(i + 1, j + 1)))
    return str(longest(0, 0)), states


def edit_distance(question):
    a, b = question[:-1].split(",")

    @functools.cache
    def least(i, j):
        if i == len(a) or j == len(b):
            return len(a) - i + len(b) - j
        return min(least(i + 1, j) + 1, least(i, j + 1) + 1, least(i + 1, j + 1) + (a[i] != b[j]))

    table = [[i + j if i * j == 0 else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    states = []
    for i, j in itertools.product(range(len(a)), range(len(b))):
        up, left, corner, change = table[i][j + 1], table[i + 1][j], table[i][j], int(a[i] != b[j])
        value = table[i + 1][j + 1] = min(up + 1, left + 1, corner + change)
        states.append(State(comma(a[i], b[j]), f"min({up}+1,{left}+1,{corner}+{change})={value}", str(value), comma(i + 1, j + 1)))
    return str(least(0, 0)), states


def binary_search(question):
    text, wanted = question[:-1].split("?")
    items, wanted = numbers(text), int(wanted)
    assert items == sorted(set(items))
    states, low, high, found = [], 1, len(items), False
    while low <= high and not found:
        middle = (low + high) // 2
        item, before = items[middle - 1], (low, high)
        found = item == wanted
        if not found:
            low, high = (middle + 1, high) if item < wanted else (low, middle - 1)
        sign = "=" if found else "<" if item < wanted else ">"
        states.append(State(comma(*before, item), f"{item}{sign}{wanted}", str(middle), comma(low, high)))
    return str(items.index(wanted) + 1 if wanted in items else 0), states


def combinations(question):
    *items, wanted = numbers(question)
    answer = sum(sum(chosen) == wanted for size in range(1, len(items) + 1) for chosen in itertools.combinations(items, size))
    states, stack, count = [], [(0, 0)], 0
    while stack:
        place, total = stack.pop()
        if place == len(items):
            continue
        item = items[place]
        count += total + item == wanted
        sign = "<" if total + item < wanted else "=" if total + item == wanted else ">"
        states.append(State(comma(item, total), f"{total}+{item}={total + item}", sign, str(count), str(len(items) - place - 1)))
        stack.append((place + 1, total))
        if sign == "<":
            stack.append((place + 1, total + item))
    return str(answer), states


SOLVERS = {one.__name__: one for one in (
    addition, division, bubble_sort, word_flip, compare_numbers, substrings, derangements, growth, dijkstra, schedule, count_letters,
    diophantine, primes, knapsack, common_subsequence, edit_distance, binary_search, combinations)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", nargs="*", default=[])
    parser.add_argument("--vernier", default="build/release/vernier")
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()

    def rows(task, count, *more, keys=()):
        command = [options.vernier, "prompts", "--task", task, "--count", str(count), *more, "--set", "data.eval_prompts=1000000"]
        for key in keys:
            command += ["--set", f"data.{task}.{key}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)}: {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def distinct(task, *more, keys=()):
        """Until there are enough, or ten times as many draws bring nothing new."""
        found, count = {}, options.count
        while True:
            before = len(found)
            for row in rows(task, count, *more, keys=keys):
                found.setdefault(row["prompt"], row)
            if len(found) >= options.count or (len(found) == before and count >= 10 * options.count):
                return list(found.values())[:options.count]
            count *= 4

    failed = 0
    for task in options.tasks or SOLVERS:
        for place, tier in enumerate("SML"):
            shares = [f"{name} = [{', '.join(str(float(i == place)) for i in range(3))}]" for name in ("tiers", "eval_tiers")]
            keys = [shares[0].replace(" ", ""), shares[1].replace(" ", "")]
            train, test = distinct(task, keys=keys), distinct(task, "--eval", keys=keys)
            mistakes = [f"{row['prompt']} is in train and test" for row in train
                        if row["prompt"] in {other["prompt"] for other in test}]
            for row in train + test:
                answer, _ = SOLVERS[task](row["prompt"])
                if answer != row["answer"]:
                    mistakes.append(f"{row['prompt']}: {row['answer']}, not {answer}")
                if row["tier"] != tier:
                    mistakes.append(f"{row['prompt']}: tier {row['tier']}")
            chains = 0
            for chosen in FORMATS:
                switches = [f"chain.{key}={value}" for key, value in chosen.items()]
                for row in rows(task, max(1, options.count // len(FORMATS)), "--demonstrations", keys=keys + switches):
                    answer, states = SOLVERS[task](row["prompt"])
                    wanted = f"{chain_text(states, chosen)}#{answer}."
                    chains += 1
                    if row["demonstration"] != wanted:
                        mistakes.append(f"{row['prompt']}: the chain is\n  {row['demonstration']}\nand not\n  {wanted}")
            print(f"{task:20} {tier}  {len(train)} train, {len(test)} test, {chains} chains: "
                  + (f"{len(mistakes)} MISTAKES, as {mistakes[0]}" if mistakes else "agree"))
            failed += bool(mistakes)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
