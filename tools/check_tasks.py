"""Every task family against another program: answers by another route, chains of thought state by state.

    python3 tools/check_tasks.py [--vernier build/release/vernier] [--count 1000] [TASK ...]

For every tier of every family, distinct instances from `vernier prompts` are answered here from their question alone (by brute
force, by a closed form or by the standard library), and the chain of their demonstration is written again. The length that a row
reports is that of its question. Train and test have no instance in common. Families that have a longest instance are asked for
that as well. Prints a line a tier; fewer than COUNT stand for all that there are. The standard library alone.
"""

import argparse
import collections
import functools
import itertools
import json
import math
import re
import string
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


def addition(question, backwards=False):
    hinted = question[0].isalpha()
    if hinted:
        marks = [re.sub(r"\d", "", one) for one in question[:-1].split("+")]
        assert len(set(marks)) == 1 and marks[0] == string.ascii_letters[:len(marks[0])]
        question = re.sub("[a-zA-Z]", "", question)
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
    if hinted:
        answer = "".join(f"{mark}{digit}" for mark, digit in zip(marks[0], answer.zfill(size), strict=True))
    if backwards:
        answer = "".join(re.findall("[a-zA-Z]?[0-9]", answer)[::-1])
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


def copied(question, backwards):
    hinted = question[0].isdigit()
    word = re.sub(r"\d", "", question[:-1])
    if hinted:
        assert question == "".join(f"{i + 1}{one}" for i, one in enumerate(word)) + "="
    places = range(len(word))[::-1] if backwards else range(len(word))
    result = "".join(word[i] for i in places)
    states = [State(str(i + 1), "", word[i], "", word[:i] if backwards else word[i + 1:]) for i in places]
    return "".join(f"{i + 1}{one}" for i, one in enumerate(result)) if hinted else result, states


def copy(question):
    return copied(question, False)


def reverse(question):
    return copied(question, True)


def parity(question):
    bits = numbers(re.sub(r"[a-z=]", " ", question)) if question[0].isalpha() else list(map(int, question[:-1]))
    states = [State(str(bit), f"{sum(bits[:i]) % 2}+{bit}={sum(bits[:i + 1]) % 2}", str(sum(bits[:i + 1]) % 2), str(i + 1),
                    "".join(map(str, bits[i + 1:]))) for i, bit in enumerate(bits)]
    return str(sum(bits) % 2), states


def summation(question, stride=1):
    digits = numbers(question)
    states, value = [], 0
    for begin in range(0, len(digits), stride):
        part, rest = digits[begin:begin + stride], digits[begin + stride:]
        following = (value + sum(part)) % 10
        states.append(State(comma(*part), f"{value}+{'+'.join(map(str, part))}={following}", str(following),
                            str(begin + len(part)), "+".join(map(str, rest))))
        value = following
    return str(sum(digits) % 10), states


def max_path(question):
    rows = [list(map(int, row)) for row in question[:-1].split("/")]
    assert [len(row) for row in rows] == list(range(1, len(rows) + 1))
    answer = max(sum(row[place] for row, place in zip(rows, itertools.accumulate(turns, initial=0)))
                 for turns in itertools.product((0, 1), repeat=len(rows) - 1))
    below, states = rows[-1], []
    for i in range(len(rows) - 2, -1, -1):
        above = [digit + max(below[j:j + 2]) for j, digit in enumerate(rows[i])]
        states += [State(comma(digit, *below[j:j + 2]), f"{digit}+max({comma(*below[j:j + 2])})={above[j]}", str(above[j]),
                         comma(i + 1, j + 1)) for j, digit in enumerate(rows[i])]
        below = above
    return str(answer), states


def sort(question):
    text, hint, wanted = question[:-1].partition(">")
    items = numbers(text)
    ordered = sorted(items)
    if hint:
        return str(ordered[ordered.index(int(wanted)) + 1]), []
    states, left = [], items
    for one in ordered:
        rest = [other for other in left if other != one]
        states.append(State(comma(*left), f"min={one}", str(one), "", comma(*rest)))
        left = rest
    return comma(*ordered), states


def polynomial(question):
    text, x = question[:-1].split(",x=")
    x, value, states = int(x), 0, []
    for term in text.split("+"):
        factor, power = int(term.rstrip("x")), term.count("x")
        raised = pow(x, power, 10) if power else 1
        states.append(State(comma(factor, power, raised), f"{value}+{factor}*{raised}={(value + factor * raised) % 10}",
                            str((value + factor * raised) % 10)))
        value = (value + factor * raised) % 10
    return str(sum(int(term.rstrip("x")) * x ** term.count("x") for term in text.split("+")) % 10), states


def lego(question):
    text, target = question[:-1].split(":")
    equations = dict(one.split("=") for one in text.split(","))

    def value(letter):
        sign, other = equations[letter]
        return (-1 if sign == "-" else 1) * (1 if other == "1" else value(other))

    chain = [target]
    while equations[chain[0]][1] != "1":
        chain.insert(0, equations[chain[0]][1])
    states = [State(f"{one}={equations[one]}", "", f"{one}{value(one):+d}", "", str(len(chain) - 1 - i)) for i, one in enumerate(chain)]
    return f"{value(target):+d}", states


def count(question):
    first, last = numbers(question)
    values = range(first, last + 1)
    return comma(*values), [State(str(last), f"{one - 1}+1={one}" if one > first else "", str(one), "", str(last - one)) for one in values]


def mode(question):
    word = question[:-1]
    (answer, most), *others = collections.Counter(word).most_common()
    assert all(number < most for _, number in others)
    states = []
    for i, one in enumerate(word):
        so_far = collections.Counter(word[:i + 1])
        states.append(State(one, f"{so_far[one] - 1}+1={so_far[one]}", f"{one}{so_far[one]}",
                            comma(*(f"{letter}{so_far[letter]}" for letter in sorted(so_far))), word[i + 1:]))
    return answer, states


def scan(question):
    verbs = {"walk": "W", "look": "O", "run": "U", "jump": "J", "turn": ""}

    def actions(phrase):
        verb, *more = phrase.split()
        times = {"twice": 2, "thrice": 3}.get(more[-1], 1) if more else 1
        more = [word for word in more if word not in ("twice", "thrice")]
        act = verbs[verb]
        if more:
            turn = more[-1][0].upper()
            act = {"around": (turn + act) * 4, "opposite": turn * 2 + act}.get(more[0], turn + act)
        assert act
        return act * times

    parts = question[:-1].split(" and ") if " and " in question else question[:-1].split(" after ")[::-1]
    states = [State(part, "", actions(part), "", comma(*parts[i + 1:])) for i, part in enumerate(parts)]
    return "".join(map(actions, parts)), states


def pcfg(question):
    words, states = question[:-1].split(), []
    unary = {"copy": lambda a: a, "reverse": lambda a: a[::-1], "shift": lambda a: a[1:] + a[0], "repeat": lambda a: a * 2,
             "swap": lambda a: a[-1] + a[1:-1] + a[0] if len(a) > 1 else a, "echo": lambda a: a + a[-1]}
    binary = {"append": lambda a, b: a + b, "prepend": lambda a, b: b + a, "remove_first": lambda a, b: b,
              "remove_second": lambda a, b: a}

    def value():
        name = words.pop(0)
        if name in unary:
            operands = [value()]
            out = unary[name](*operands)
        elif name in binary:
            operands = [value()]
            assert words.pop(0) == ","
            operands.append(value())
            out = binary[name](*operands)
        else:
            return name
        states.append(State(comma(*operands), f"{name}({comma(*operands)})", out))
        return out

    answer = value()
    assert not words
    return answer, states


def rewrite(question):
    rules, word = question[:-1].split(":")
    rules = [rule.split(">") for rule in rules.split(",")]
    states = []
    while True:
        fitting = [(start, end) for start, end in rules if start in word]
        if not fitting:
            return word, states
        start, end = fitting[0]
        place = word.index(start)
        word = word.replace(start, end, 1)
        states.append(State(f"{start}>{end}", f"@{place + 1}", word))


def story(question):
    events = re.findall(r"(buys|finds|wins|gets|loses|sells|gives away|drops) (\d+)\.", question)
    value, states = int(re.search(r"has (\d+) ", question)[1]), []
    answer = value
    for i, (verb, change) in enumerate(events):
        gain = verb in ("buys", "finds", "wins", "gets")
        answer += int(change) if gain else -int(change)
        states.append(State(f"{value},{change}", f"{value}{'+' if gain else '-'}{change}={answer}", str(answer), str(i + 1),
                            str(len(events) - 1 - i)))
        value = answer
    assert answer >= 0
    return str(answer), states


def addition_formats(question, form="plain"):
    """The answer, and the whole response in place of states."""
    a, b = re.findall(r"\d+", question)
    total = str(int(a) + int(b))
    assert len(a) == len(b) and question == {"plain": f"{a}+{b}=", "reverse": f"${a}+{b}="}.get(form, f"Input:\n{a}+{b}\nTarget:\n")
    if form in ("plain", "reverse"):
        answer = total if form == "plain" else total[::-1] + "$"
        return answer, answer
    lines, carry, known = [], 0, []

    def shown(digits):
        return f"[{','.join(digits)}]"

    for size in range(len(a), 0, -1):
        x, y = int(a[size - 1]), int(b[size - 1])
        value = x + y + carry
        work = f"{shown(a[:size])} + {shown(b[:size])} , A={shown(known)} , C={carry} , {x}+{y}+{carry}={value} , "
        carry = value // 10
        lines.append(f"{work if form == 'detailed' else ''}A->{value % 10} , C->{carry}")
        known = [str(value % 10), *known]
    if form == "simple":
        return total, "\n".join(lines) + f".\n{total}"
    heads = [f"{shown(one)} has {len(one)} digits." for one in (a, b)]
    answer = " ".join(total)
    return answer, "\n".join(["<scratch>", *heads, *lines, f"[] + [] , A={shown(known)} C={carry} , END", "</scratch>", answer])


SOLVERS = {one.__name__: one for one in (
    addition, division, bubble_sort, word_flip, compare_numbers, substrings, derangements, growth, dijkstra, schedule, count_letters,
    diophantine, primes, knapsack, common_subsequence, edit_distance, binary_search, combinations, copy, reverse, parity, summation,
    max_path, sort, polynomial, lego, count, mode, scan, pcfg, rewrite, story, addition_formats)}


def items(mark):
    """How many there are with `mark` between them."""
    return lambda question: question.count(mark) + 1


def letters(question):
    return len(question) - 1


# The length of an instance, in its family's unit, from the question alone.
LENGTHS = {
    "addition": lambda question: max(len(re.sub(r"\D", "", one).lstrip("0")) for one in question.split("+")),
    "division": lambda question: len(question.split("/")[0]),
    "bubble_sort": items(","),
    "word_flip": letters,
    "compare_numbers": lambda question: len(question.split("?")[0].replace(".", "")),
    "substrings": letters,
    "derangements": lambda question: numbers(question)[0],
    "growth": lambda question: numbers(question)[3],
    "dijkstra": lambda question: len(set(re.sub(r"[\d,]", "", question.split(":")[0]))),
    "schedule": items(","),
    "count_letters": lambda question: len(question.split(":")[0]),
    "diophantine": lambda question: numbers(question)[2],
    "primes": lambda question: numbers(question)[1],
    "knapsack": items(","),
    "common_subsequence": lambda question: max(map(len, question[:-1].split(","))),
    "edit_distance": lambda question: max(map(len, question[:-1].split(","))),
    "binary_search": items(","),
    "combinations": items(","),
    "copy": lambda question: len(re.findall("[a-z]", question)),
    "reverse": lambda question: len(re.findall("[a-z]", question)),
    "parity": lambda question: len(re.findall("[01]", question)),
    "summation": items("+"),
    "max_path": items("/"),
    "sort": items(","),
    "polynomial": items("+"),
    "lego": items(","),
    "count": lambda question: numbers(question)[1] - numbers(question)[0] + 1,
    "mode": letters,
    "scan": lambda question: len(scan(question)[0]),
    "pcfg": lambda question: len(pcfg(question)[1]),
    "rewrite": lambda question: len(question[:-1].split(":")[1]),
    "story": lambda question: len(story(question)[1]),
    "addition_formats": lambda question: len(re.search(r"\d+", question)[0]),
}
# The longest instance of families that have one, and long sums; with keys.
LONGEST = [("addition", 51, ["index_hints=true"]), ("addition_formats", 60, ['format="detailed"']), ("combinations", 16, []),
           ("copy", 26, ["distinct=true"]), ("dijkstra", 26, []), ("growth", 400, []), ("lego", 26, []), ("scan", 48, [])]
# Keys of a family that change its instances or its chains, with what solves them.
VARIANTS = {
    "addition": [(["decimals=true", 'end="~"'], addition), (["index_hints=true"], addition),
                 (["reversed=true"], functools.partial(addition, backwards=True)),
                 (["index_hints=true", "reversed=true"], functools.partial(addition, backwards=True))],
    "copy": [(["distinct=true"], copy), (["index_hints=true"], copy)],
    "reverse": [(["index_hints=true"], reverse)],
    "parity": [(["index_hints=true"], parity)],
    "summation": [(["per_state=[3]"], functools.partial(summation, stride=3)), (["mistake_rate=1.0"], summation)],
    "sort": [(["hint_share=1.0"], sort)],
    "story": [(["rounds=[0,4]"], story)],
    "addition_formats": [([f'format="{form}"'], functools.partial(addition_formats, form=form))
                         for form in ("reverse", "simple", "detailed")],
}


def length_mistakes(task, row):
    length = LENGTHS[task](row["prompt"])
    told = {row["length"], row["difficulty"]}
    return [] if told == {length} else [f"{row['prompt']}: of length {length}, not {told}"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", nargs="*", default=[])
    parser.add_argument("--vernier", default="build/release/vernier")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="all tiers at once, two of the chain formats for each")
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
            if options.quick or len(found) >= options.count or (len(found) == before and count >= 10 * options.count):
                return list(found.values())[:options.count]
            count *= 4

    def check(task, place, solve, extra):
        """The mistakes of one tier, and how much was looked at."""
        shares = ",".join(str(float(i == place or place is None)) for i in range(3))
        keys = [f"tiers=[{shares}]", f"eval_tiers=[{shares}]", *extra]
        train, test = distinct(task, keys=keys), distinct(task, "--eval", keys=keys)
        asked = {row["prompt"] for row in test}
        mistakes = [f"{row['prompt']} is in train and test" for row in train if row["prompt"] in asked]
        for row in train + test:
            answer, _ = solve(row["prompt"])
            if answer != row["answer"]:
                mistakes.append(f"{row['prompt']}: {row['answer']}, not {answer}")
            mistakes += length_mistakes(task, row)
            if row["tier"] not in ("SML" if place is None else "SML"[place]):
                mistakes.append(f"{row['prompt']}: tier {row['tier']}")
        chains = 0
        formats = FORMATS if isinstance(solve(train[0]["prompt"])[1], list) else [{}]
        if options.quick and len(formats) > 1:
            formats = [FORMATS[0], FORMATS[1 + sum(task.encode()) % (len(FORMATS) - 1)]]
        for chosen in formats:
            switches = [f"chain.{key}={value}" for key, value in chosen.items()]
            for row in rows(task, max(1, options.count // len(formats)), "--demonstrations", keys=keys + switches):
                answer, states = solve(row["prompt"])
                wanted = f"{chain_text(states, chosen)}#{answer}" if isinstance(states, list) else states
                chains += 1
                found = re.sub(r"[\d+]+=\d\?", "", row["demonstration"])  # summation's mistakes, which are taken back
                if found[:-1] != wanted:
                    mistakes.append(f"{row['prompt']}: the chain is\n  {found}\nand not\n  {wanted}")
        return mistakes, f"{len(train)} train, {len(test)} test, {chains} chains"

    def check_longest(task, length, keys):
        solve = next((solve for extra, solve in VARIANTS.get(task, []) if extra == keys), SOLVERS[task])
        mistakes = []
        for row in rows(task, 10, keys=[f"lengths=[{length},{length}]", *keys]):
            answer, _ = solve(row["prompt"])
            if answer != row["answer"]:
                mistakes.append(f"{row['prompt']}: {row['answer']}, not {answer}")
            mistakes += length_mistakes(task, row)
        return mistakes

    failed = 0
    for task in options.tasks or SOLVERS:
        for name, length, keys in LONGEST:
            if name == task and (mistakes := check_longest(task, length, keys)):
                print(f"{' '.join([task, *keys])} of length {length}: {len(mistakes)} MISTAKES, as {mistakes[0]}", flush=True)
                failed += 1
        for extra, solve in [([], SOLVERS[task]), *VARIANTS.get(task, [])]:
            for place, tier in [(None, "SML")] if options.quick else enumerate("SML"):
                mistakes, seen = check(task, place, solve, extra)
                told = f"{len(mistakes)} MISTAKES, as {mistakes[0]}" if mistakes else "agree"
                print(f"{' '.join([task, *extra]):34} {tier:3}  {seen}: {told}", flush=True)
                failed += bool(mistakes)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
