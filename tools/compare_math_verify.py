#!/usr/bin/env python3
"""Holds `vernier verify` to math-verify on generated pairs of gold answer and response.

    compare_math_verify.py agree --vernier build/release/vernier [--pairs 20000] [--seed 1] [--show 3]
    compare_math_verify.py golden --vernier build/release/vernier --out tests/cases/verify/math_verify.json
    compare_math_verify.py speed --vernier build/release/vernier [--pairs 2000] [--rounds 5]

`agree` prints the share of equal verdicts, over all and of each class, and with --show examples of
what differs. `golden` writes a sample with math-verify's verdicts, for a test that needs no Python.
`speed` times both on one core, in turns, and prints medians; ours is timed as a whole process.

Every class draws a value, writes it as gold and, in another of its forms, as answer; in half of the
pairs the answer's value is another one, near the first. The draws depend on the seed alone, and on
neither verifier. The forms of a class are the notations of its values, and the equalities that are
the matter of the class: 2\sqrt{2} is \sqrt{8}, (3,\infty) is x > 3. What takes a step of algebra that
is no matter of the class (a common factor, a moved term, a product not multiplied out) is in
`rewritten`, and drawn with --rewritten.

    python3 -m venv ENV && ENV/bin/pip install math-verify==0.9.0 latex2sympy2_extended==1.11.0
"""
import argparse
import json
import logging
import math
import os
import pathlib
import platform
import random
import statistics
import subprocess
import sys
import time
from fractions import Fraction
from importlib import metadata

VERSIONS = ("math-verify", "latex2sympy2_extended", "sympy", "antlr4-python3-runtime")


# ---------------------------------------------------------------- forms

def frac(value, macro="\\frac"):
    value = Fraction(value)
    if value.denominator == 1:
        return str(value.numerator)
    sign = "-" if value < 0 else ""
    return f"{sign}{macro}{{{abs(value.numerator)}}}{{{value.denominator}}}"


def decimal(value, digits=8):
    """The shortest decimal where it ends within the digits, else rounded to them."""
    text = f"{float(value):.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def ends(value, digits=6):
    return Fraction(value) * 10 ** digits % 1 == 0


def signed(value, text=None, first=False):
    """The term with its sign, as it stands behind other terms."""
    text = text if text is not None else str(abs(value))
    if first:
        return f"-{text}" if value < 0 else text
    return f"-{text}" if value < 0 else f"+{text}"


def term(factor, name, first=False):
    """factor·name: no factor of 1."""
    return signed(factor, name if abs(factor) == 1 else f"{abs(factor)}{name}", first)


def polynomial(coefficients, name="x", reverse=False, spaced=False):
    """Of the highest power first; coefficients by power."""
    powers = [p for p in sorted(coefficients, reverse=not reverse) if coefficients[p] != 0]
    out = ""
    for p in powers:
        c = coefficients[p]
        if p == 0:
            out += signed(c, first=not out)
        else:
            out += term(c, name if p == 1 else f"{name}^{{{p}}}" if p > 9 else f"{name}^{p}", not out)
    out = out or "0"
    return out.replace("+", " + ").replace("-", " - ").strip() if spaced else out


def times(*parts):
    out = {0: 1}
    for part in parts:
        new = {}
        for p, a in out.items():
            for q, b in part.items():
                new[p + q] = new.get(p + q, 0) + a * b
        out = new
    return out


def grouped(value, comma):
    return f"{value:,}".replace(",", comma)


# ---------------------------------------------------------------- classes
# Each draws a value, changes it into a near one, and writes it in one of its forms.


class Kind:
    def rewritten(self, r, v):
        return []


class Int(Kind):
    def draw(self, r):
        return r.choice([r.randint(-20, 200), r.randint(1000, 99999), r.randint(10 ** 6, 10 ** 8), 10 ** r.randint(2, 6)])

    def near(self, r, v):
        return r.choice([v + 1, v - 1, -v if v else 1, v + 10, v * 10 if v else 2, v + r.randint(2, 9)])

    def forms(self, r, v):
        out = [str(v), f"{v}.0", f"{v} ", f"${v}$", f"\\text{{{v}}}", f"{{{v}}}"]
        if abs(v) >= 1000:
            out += [grouped(v, ","), grouped(v, "{,}"), grouped(v, ",\\!")]
        if v >= 100 and str(v).strip("0") == "1":
            out += [f"10^{len(str(v)) - 1}", f"10^{{{len(str(v)) - 1}}}"]
        return out

    def rewritten(self, r, v):
        k, a = r.randint(2, 9), r.randint(1, 50)
        out = [f"\\frac{{{k * v}}}{{{k}}}", f"{v - a}+{a}"]
        if v % k == 0:
            out += [f"{k}\\cdot{v // k}" if v >= 0 else f"-{k}\\cdot{-v // k}", f"{k} \\times {v // k}" if v >= 0 else str(v)]
        return out


class Dec(Kind):
    def draw(self, r):
        digits = r.randint(1, 4)
        return Fraction(r.choice([-1, 1, 1, 1]) * r.randint(1, 10 ** r.randint(digits, digits + 2)), 10 ** digits)

    def near(self, r, v):
        return r.choice([v + Fraction(1, 100), v - Fraction(1, 10), -v, v * 10, v + Fraction(1, 1000), v + 1])

    def forms(self, r, v):
        text = decimal(v)
        out = [text, text, text + ("0" if "." in text else ".0"), frac(v), f"{v.numerator}/{v.denominator}" if v.denominator > 1 else text,
               frac(v, "\\dfrac"), f"{decimal(v * 100)}\\times10^{{-2}}", f"{decimal(v * 10)} \\cdot 10^{{-1}}", f"\\text{{{text}}}"]
        if text.startswith("0."):
            out.append(text[1:])
        if r.random() < 0.3:
            out.append(f"{decimal(v * 10)}e-1")
        return out

    def rewritten(self, r, v):
        whole = v.numerator // v.denominator
        return [f"{whole}+{decimal(v - whole)}", f"{whole + 1}-{decimal(whole + 1 - v)}"]


class Frac(Kind):
    def draw(self, r):
        while True:
            v = Fraction(r.randint(-30, 60), r.randint(2, 30))
            if v.denominator > 1:
                return v

    def near(self, r, v):
        return r.choice([v + 1, 1 / v if abs(v) != 1 else v + 2, -v, Fraction(v.numerator + 1, v.denominator),
                         Fraction(v.numerator, v.denominator + 1), v + Fraction(1, v.denominator * 2)])

    def forms(self, r, v):
        n, d, k = v.numerator, v.denominator, r.randint(2, 6)
        out = [frac(v), frac(v, "\\dfrac"), frac(v, "\\tfrac"), f"{n}/{d}", f"\\frac{{{k * n}}}{{{k * d}}}", f"\\frac{{{n}}}{{{d}}}",
               f"{n} / {d}", decimal(v, r.choice([6, 7, 8, 10])), f"{n}\\div{d}"]
        if v > 1 and d > 1:
            out += [f"{n // d}\\frac{{{n % d}}}{{{d}}}", f"{n // d} {n % d}/{d}"]
        if 0 < n < 10 and d < 10:
            out += [f"\\frac{n}{d}", f"\\frac{n}{{{d}}}"]
        return out


class Root(Kind):
    def draw(self, r):
        return r.choice([1, 1, 2, 3, 4, 5, 6, 10]), r.choice([2, 3, 5, 6, 7, 10, 11, 13, 15]), r.choice([1, 1, 1, 2, 3])

    def near(self, r, v):
        k, m, d = v
        return r.choice([(k + 1, m, d), (k, m + 1 if m + 1 not in (4, 9, 16) else m + 2, d), (k, m, d + 1), (k * 2, m, d)])

    def forms(self, r, v):
        k, m, d = v
        value = k * math.sqrt(m) / d
        over = (lambda t: t) if d == 1 else (lambda t: f"\\frac{{{t}}}{{{d}}}")
        root = f"\\sqrt{{{m}}}"
        out = [over(f"{k}{root}" if k > 1 else root), over(f"{k}{root}" if k > 1 else root), over(f"\\sqrt{{{k * k * m}}}"),
               f"\\frac{{{k * m}}}{{{d if d > 1 else ''}{root}}}", over(f"{k}\\cdot {m}^{{1/2}}"), f"{value:.{r.choice([6, 7, 8])}f}",
               over(f"{root}\\cdot {k}"), f"{frac(Fraction(k, d))} \\cdot {root}", over(f"{k} \\times \\sqrt{{{m}}}")]
        if m < 10:
            out.append(over(f"{k}\\sqrt{m}" if k > 1 else f"\\sqrt{m}"))
        out.append(over(f"{k}*sqrt({m})" if k > 1 else f"sqrt({m})"))
        return out


class Pow(Kind):
    def draw(self, r):
        kind = r.choice(["number", "number", "symbol", "euler", "negative"])
        return kind, r.randint(2, 9), r.randint(2, 8)

    def near(self, r, v):
        kind, b, e = v
        return r.choice([(kind, b, e + 1), (kind, b + 1, e), (kind, b, e - 1)])

    def forms(self, r, v):
        kind, b, e = v
        k = r.randint(1, 3)
        if kind == "number":
            return [f"{b}^{{{e}}}", f"{b}^{e}", str(b ** e), f"({b})^{{{e}}}", f"{b}^{{{e - 1}}} \\cdot {b}", f"{b}^{{{e}+{k}-{k}}}",
                    f"\\frac{{{b}^{{{e + k}}}}}{{{b}^{{{k}}}}}", f"{b}**{e}"]
        if kind == "negative":
            return [f"{b}^{{-{e}}}", f"\\frac{{1}}{{{b ** e}}}", f"\\frac{{1}}{{{b}^{e}}}", f"1/{b ** e}", f"({b}^{{-1}})^{{{e}}}",
                    f"\\left(\\frac{{1}}{{{b}}}\\right)^{{{e}}}"]
        name = "x" if kind == "symbol" else "e"
        return [f"{name}^{{{e}}}", f"{name}^{e}", f"{name}^{{{e - 1}}} {name}", f"{name} \\cdot {name}^{{{e - 1}}}",
                f"\\frac{{{name}^{{{e + k}}}}}{{{name}^{{{k}}}}}", f"({name}^{{{e}}})", f"({name}^{{{2 * e}}})^{{1/2}}"]


class Pct(Kind):
    def draw(self, r):
        return r.choice([Fraction(r.randint(1, 120)), Fraction(r.randint(1, 99)), Fraction(r.randint(1, 999), 10), Fraction(r.choice([5, 25, 75]), 2)])

    def near(self, r, v):
        return r.choice([v + 1, v * 10, v + 5, v / 10, v + Fraction(1, 2)])

    def forms(self, r, v):
        p = decimal(v)
        out = [f"{p}\\%", f"{p}\\%", f"{p}%", f"{p} \\%", f"{p}\\text{{ percent}}", f"{p} percent", decimal(v / 100), frac(v / 100)]
        if v.denominator == 1:
            out += [p, p]
        return out


class Unit(Kind):
    UNITS = [("cm", "centimeters"), ("m", "meters"), ("km", "kilometers"), ("kg", "kilograms"), ("hours", "hours"), ("miles", "miles"),
             ("inches", "inches"), ("mph", "mph"), ("degrees", "degrees"), ("dollars", "dollars"), ("minutes", "minutes"), ("feet", "feet"),
             ("square units", "square units"), ("days", "days")]

    def draw(self, r):
        return r.choice([Fraction(r.randint(1, 500)), Fraction(r.randint(1, 99), 2), Fraction(r.randint(10, 999), 10)]), r.choice(self.UNITS)

    def near(self, r, v):
        value, unit = v
        if r.random() < 0.1:
            return value, r.choice([u for u in self.UNITS if u != unit])
        return r.choice([value + 1, value * 10, value + Fraction(1, 2), value * 2, value / 10]), unit

    def forms(self, r, v):
        value, (short, long) = v
        n = decimal(value)
        out = [n, n, f"{n}\\text{{ {short}}}", f"{n} \\text{{ {long}}}", f"{n} {short}", f"{n} {long}", f"{n}\\ \\mathrm{{{short.replace(' ', '~')}}}",
               f"{n}\\,\\text{{{short}}}", f"{n} \\mbox{{ {long}}}"]
        if value.denominator > 1:
            out.append(frac(value) + f"\\text{{ {long}}}")
        if short == "degrees":
            out += [f"{n}^\\circ", f"{n}^{{\\circ}}"] * 2
        if short == "dollars":
            out += [f"\\${n}", f"\\$ {n}"] * 2
        return out


class Text(Kind):
    WORDS = ["yes", "no", "even", "odd", "Evelyn", "Monday", "Tuesday", "true", "false", "increasing", "decreasing", "parabola", "ellipse",
             "circle", "hyperbola", "Alice", "Bob", "red", "blue", "infinitely many", "no solution", "acute", "obtuse", "north", "south"]

    def draw(self, r):
        return r.choice(self.WORDS) if r.random() < 0.7 else r.choice("ABCDE")

    def near(self, r, v):
        return r.choice([w for w in (list("ABCDE") if len(v) == 1 else self.WORDS) if w.lower() != v.lower()])

    def forms(self, r, v):
        if len(v) == 1:
            return [v, f"\\text{{{v}}}", f"({v})", f"\\text{{({v})}}", f"\\mathrm{{{v}}}", f"\\textbf{{{v}}}", f"\\textbf{{({v})}}", f"{v}."]
        return [f"\\text{{{v}}}", f"\\text{{{v}}}", v, f"\\text{{{v.capitalize()}}}", f"\\mathrm{{{v}}}", f"\\textbf{{{v}}}", f"\\text{{ {v} }}",
                v.capitalize(), f"\\textit{{{v}}}", f"\\mbox{{{v}}}"]


class Expr(Kind):
    def draw(self, r):
        kind = r.choice(["quadratic", "quadratic", "square", "difference", "linear", "two", "identity", "rational"])
        return kind, r.randint(1, 6), r.choice([-1, 1]) * r.randint(1, 7), r.choice(["x", "x", "n", "t", "a"]), r.randint(0, 4)

    def near(self, r, v):
        kind, a, b, name, which = v
        return r.choice([(kind, a + 1, b, name, which), (kind, a, -b, name, which), (kind, a, b + (2 if b == -1 else 1), name, which),
                         (kind, a + 2, b, name, which), (kind, a, b, "y" if name != "y" else "x", which)])

    def forms(self, r, v):
        kind, a, b, x, which = v
        if kind == "quadratic":  # (x + a)(x + b)
            p = times({1: 1, 0: a}, {1: 1, 0: b})
            return [polynomial(p, x), polynomial(p, x, reverse=True), polynomial(p, x, spaced=True), f"({x}+{a})({x}{signed(b)})",
                    f"({x}{signed(b)})({x}+{a})", f"({x}+{a}) \\cdot ({x}{signed(b)})", f"\\left({x}+{a}\\right)\\left({x}{signed(b)}\\right)",
                    f"{x}({x}{signed(a + b)}){signed(a * b)}" if a + b else polynomial(p, x)]
        if kind == "square":  # (a x + b)^2
            p = times({1: a, 0: b}, {1: a, 0: b})
            inner = f"{term(a, x, True)}{signed(b)}"
            return [polynomial(p, x), f"({inner})^2", f"({inner})^{{2}}", f"({inner})({inner})", polynomial(p, x, reverse=True),
                    f"\\left({inner}\\right)^2", polynomial(p, x, spaced=True)]
        if kind == "difference":  # x^2 - a^2 y^2
            return [f"{x}^2-{a * a}y^2", f"({x}-{a}y)({x}+{a}y)", f"({x}+{a}y)({x}-{a}y)", f"-{a * a}y^2+{x}^2", f"{x}^{{2}} - {a * a} y^{{2}}",
                    f"{x}^2-({a}y)^2"]
        if kind == "linear":
            return [f"{term(a, x, True)}{signed(b)}", f"{signed(b, first=True)}+{term(a, x, True)}", f"{a}*{x}{signed(b)}", f"{a} \\cdot {x} {signed(b)}",
                    f"{a}\\left({x}{signed(b)}\\right){signed(b - a * b)}" if b != a * b else f"{a}{x}{signed(b)}",
                    f"\\frac{{{2 * a}{x}{signed(2 * b)}}}{{2}}", f"{a}{x} {signed(b)}"]
        if kind == "two":  # a x + b y
            return [f"{term(a, x, True)}{term(b, 'z')}", f"{term(b, 'z', True)}+{term(a, x, True)}", f"{a} {x} {signed(b)} z", f"{a}\\cdot {x}{signed(b)}\\cdot z",
                    f"\\frac{{{3 * a}{x}{signed(3 * b)}z}}{{3}}", f"{x} \\cdot {a} {signed(b)}z"]
        if kind == "rational":  # a / (x + b)
            return [f"\\frac{{{a}}}{{{x}{signed(b)}}}", f"{a}/({x}{signed(b)})", f"\\dfrac{{{a}}}{{{x}{signed(b)}}}", f"{a}({x}{signed(b)})^{{-1}}",
                    f"\\frac{{{2 * a}}}{{2{x}{signed(2 * b)}}}", f"\\frac{{{a}{x}}}{{{x}^2{signed(b)}{x}}}", f"\\frac{{-{a}}}{{-{x}{signed(-b)}}}"]
        a = max(a, 2)
        return [[f"{a}\\sin^2 {x}+{a}\\cos^2 {x}", str(a), f"{a}(\\sin^2 {x} + \\cos^2 {x})", f"{a}\\cdot 1", f"{a} \\cos^2({x}) + {a} \\sin^2({x})"],
                [f"{a}\\sin(2{x})", f"{2 * a}\\sin {x}\\cos {x}", f"{2 * a}\\cos {x} \\sin {x}", f"{a}\\sin 2{x}", f"{a} \\sin\\left(2{x}\\right)"],
                [f"{a}!", str(math.factorial(a)), f"{a}\\cdot {a - 1}!", f"\\frac{{{a + 1}!}}{{{a + 1}}}", f"({a})!"],
                [f"{a}\\ln 2", f"\\ln {2 ** a}", f"\\ln(2^{{{a}}})", f"{a} \\ln{{2}}", f"\\ln {2 ** (a + 1)} - \\ln 2"],
                [f"\\log_2 {2 ** a}", str(a), f"\\log_{{2}}{{{2 ** a}}}", f"\\log_3 {3 ** a}", f"{a} \\log_{{5}} 5"]][which]


class Eq(Kind):
    def draw(self, r):
        kind = r.choice(["value", "value", "line", "implicit", "circle"])
        return kind, r.choice(["x", "y", "n", "k"]), r.randint(1, 9), r.choice([-1, 1]) * r.randint(1, 9)

    def near(self, r, v):
        kind, x, a, b = v
        return r.choice([(kind, x, a + 1, b), (kind, x, a, b + (2 if b == -1 else 1)), (kind, x, a, -b), (kind, x, a + 2, b)])

    def forms(self, r, v):
        kind, x, a, b = v
        if kind == "value":
            q = Fraction(b, a)
            return [f"{x}={frac(q)}", f"{x} = {frac(q)}", frac(q), f"{x}=\\frac{{{b}}}{{{a}}}", f"{x}={b}/{a}", f"{frac(q)}={x}",
                    f"{x}=\\frac{{{2 * b}}}{{{2 * a}}}={frac(q)}", f"{x}={decimal(q)}" if ends(q) else f"{x} = \\dfrac{{{b}}}{{{a}}}"]
        if kind == "line":
            return [f"y={term(a, 'x', True)}{signed(b)}", f"y = {signed(b, first=True)} + {term(a, 'x', True)}", f"{term(a, 'x', True)}{signed(b)}",
                    f"y={a}\\cdot x{signed(b)}", f"y = {a}x {signed(b)}", f"{term(a, 'x', True)}{signed(b)}=y"]
        if kind == "implicit":
            return [f"{term(a, 'x', True)}{term(b, 'y')}=6", f"{term(b, 'y', True)}+{term(a, 'x', True)}=6", f"6={term(a, 'x', True)}{term(b, 'y')}",
                    f"{a} x {signed(b)} y = 6", f"{a}\\cdot x{signed(b)}\\cdot y=6"]
        return [f"x^2+(y{signed(b)})^2={a * a}", f"(y{signed(b)})^2+x^2={a * a}", f"x^2+y^2{signed(2 * b)}y{signed(b * b)}={a * a}",
                f"x^{{2}} + (y {signed(b)})^{{2}} = {a * a}", f"{a * a}=x^2+(y{signed(b)})^2", f"x^2+(y{signed(b)})^2={a}^2"]

    def rewritten(self, r, v):
        kind, _, a, b = v
        if kind == "line":
            return [f"y{signed(-b)}={term(a, 'x', True)}", f"{term(a, 'x', True)}-y{signed(b)}=0"]
        if kind == "implicit":
            return [f"{2 * a}x{term(2 * b, 'y')}=12", f"{term(a, 'x', True)}{term(b, 'y')}-6=0"]
        return []


class Ineq(Kind):
    def draw(self, r):
        a = r.randint(-9, 9)
        return r.choice(["above", "below", "between"]), a, a + r.randint(1, 9), r.random() < 0.5, r.random() < 0.5

    def near(self, r, v):
        kind, a, b, low, high = v
        return r.choice([(kind, a - 1, b + 2, low, high), (kind, a, b, not low, high) if kind == "above" else (kind, a, b, low, not high),
                         (kind, a - 1, b + 1, low, high), ({"above": "below", "below": "above", "between": "above"}[kind], a, b, low, high)])

    def forms(self, r, v):
        kind, a, b, low, high = v
        less, more = (r.choice(["\\le", "\\leq"]), r.choice(["\\ge", "\\geq"]))
        left, right = "(" if low else "[", ")" if high else "]"
        if kind == "above":
            rel, back = (">", "<") if low else (more, less)
            named = "\\gt" if low else r.choice(["\\geqslant", "≥"])
            return [f"x{rel} {a}", f"x {rel} {a}", f"{a} {back} x", f"{left}{a},\\infty)", f"x {named} {a}", f"$x {rel} {a}$",
                    f"x \\in {left}{a},\\infty)", f"\\left{left}{a}, \\infty\\right)"]
        if kind == "below":
            rel, back = ("<", ">") if high else (less, more)
            named = "\\lt" if high else r.choice(["\\leqslant", "≤"])
            return [f"x{rel} {b}", f"x {rel} {b}", f"{b} {back} x", f"(-\\infty,{b}{right}", f"x {named} {b}", f"$x {rel} {b}$",
                    f"x \\in (-\\infty,{b}{right}", f"\\left(-\\infty, {b}\\right{right}"]
        first, second = ("<" if low else less), ("<" if high else less)
        lower, upper = ("\\lt" if low else "≤"), ("\\lt" if high else "≤")
        return [f"{a}{first} x{second} {b}", f"{a} {first} x {second} {b}", f"{a} {lower} x {upper} {b}", f"${a} {first} x {second} {b}$", f"{left}{a},{b}{right}", f"\\left{left}{a}, {b}\\right{right}",
                f"{b} {'>' if high else more} x {'>' if low else more} {a}", f"x \\in {left}{a},{b}{right}"]

    def rewritten(self, r, v):
        kind, a, b, low, high = v
        k = r.randint(2, 4)
        if kind == "above":
            rel = ">" if low else r.choice(["\\ge", "\\geq"])
            return [f"{k}x{rel} {k * a}", f"x{signed(-a)}{rel} 0" if a else f"0 < {k}x" if low else f"0 \\le {k}x"]
        if kind == "below":
            rel = "<" if high else r.choice(["\\le", "\\leq"])
            return [f"{k}x{rel} {k * b}", f"x{signed(-b)}{rel} 0" if b else f"0 > {k}x" if high else f"0 \\ge {k}x"]
        return [f"{k * a} {'<' if low else chr(92) + 'le'} {k}x {'<' if high else chr(92) + 'le'} {k * b}"]


class Ival(Kind):
    def draw(self, r):
        points = sorted(r.sample(range(-12, 13), 4))
        return r.choice(["one", "one", "half", "union", "rays"]), tuple(Fraction(p, r.choice([1, 1, 1, 2])) if i in (0, 3) else Fraction(p) for i, p in enumerate(points)), \
            r.random() < 0.5, r.random() < 0.5

    def near(self, r, v):
        kind, p, low, high = v
        moved = (p[0] - 1, p[1], p[2], p[3] + 1)
        if kind == "half":
            return (kind, moved, low, high) if r.random() < 0.5 else (kind, p, not low, high)
        return r.choice([(kind, moved, low, high), (kind, p, not low, high), (kind, p, low, not high), ("half" if kind != "half" else "one", p, low, high)])

    def forms(self, r, v):
        kind, p, low, high = v
        left, right = "(" if low else "[", ")" if high else "]"

        def ival(a, b, opening, closing, style):
            comma = r.choice([",", ", "])
            a, b = (f if isinstance(f, str) else frac(f) if style != 2 else decimal(f) for f in (a, b))
            return f"\\left{opening}{a}{comma}{b}\\right{closing}" if style == 1 else f"{opening}{a}{comma}{b}{closing}"

        cup = r.choice(["\\cup", " \\cup "])
        out = []
        for style in (0, 1, 2):
            if kind == "one":
                out.append(ival(p[0], p[3], left, right, style))
            elif kind == "half":
                out.append(ival(p[0], "\\infty", left, ")", style))
            elif kind == "union":
                parts = [ival(p[0], p[1], left, right, style), ival(p[2], p[3], left, right, style)]
                out += [cup.join(parts), cup.join(parts[::-1])]
            else:
                parts = [ival("-\\infty", p[0], "(", right, style), ival(p[3], "\\infty", left, ")", style)]
                out += [cup.join(parts), cup.join(parts[::-1])]
        if kind == "one":
            out += [f"\\{{x \\mid {frac(p[0])} {'<' if low else chr(92) + 'le'} x {'<' if high else chr(92) + 'le'} {frac(p[3])}\\}}"] if r.random() < 0.3 else []
            out += [out[0].replace(",", " , "), f"x \\in {out[0]}"]
        if kind == "half":
            out += [out[0].replace("\\infty", "+\\infty"), f"x \\in {out[0]}"]
        return out


class Set(Kind):
    def draw(self, r):
        return tuple(r.sample([Fraction(n) for n in range(-9, 30)] + [Fraction(1, 2), Fraction(-3, 2), Fraction(3, 4)], r.randint(2, 4))), r.random() < 0.2

    def near(self, r, v):
        items, _ = v
        return r.choice([(items[:-1] + (items[-1] + 40,), False), (items[:-1], False) if len(items) > 2 else (items + (Fraction(77),), False),
                         (items + (Fraction(55),), False), ((-items[0] if items[0] and -items[0] not in items else items[0] + 60,) + items[1:], False)])

    def forms(self, r, v):
        items, both = v
        if both:
            a = abs(items[0]) or Fraction(3)
            return [f"\\pm {frac(a)}", f"{frac(a)}, {frac(-a)}", f"\\{{{frac(a)},{frac(-a)}\\}}", f"x=\\pm {frac(a)}", f"{frac(-a)},{frac(a)}",
                    f"x={frac(a)} \\text{{ or }} x={frac(-a)}"]
        mixed = list(items)
        r.shuffle(mixed)
        texts = [frac(i) for i in mixed]
        out = [f"\\{{{','.join(texts)}\\}}", f"\\{{{', '.join(texts)}\\}}", f"\\left\\{{{', '.join(texts)}\\right\\}}", ", ".join(texts), ",".join(texts),
               ", ".join(texts[:-1]) + " and " + texts[-1], ", ".join(texts[:-1]) + " \\text{ and } " + texts[-1],
               f"\\{{{', '.join(decimal(i) for i in mixed)}\\}}", "; ".join(texts)]
        if len(texts) == 2:
            out.append(f"x={texts[0]} \\text{{ or }} x={texts[1]}")
        return out


class Tuple(Kind):
    def draw(self, r):
        return tuple(r.choice([Fraction(r.randint(-12, 20)), Fraction(r.randint(-12, 20)), Fraction(r.randint(-9, 9), 2)]) for _ in range(r.choice([2, 2, 2, 3, 4])))

    def near(self, r, v):
        return r.choice([v[:-1] + (v[-1] + 1,), v[::-1] if v[::-1] != v else (v[0] + 1,) + v[1:], (v[0] - 1,) + v[1:], v + (Fraction(1),)])

    def forms(self, r, v):
        texts = [frac(i) for i in v]
        out = [f"({','.join(texts)})", f"({', '.join(texts)})", f"\\left({', '.join(texts)}\\right)", f"\\left({','.join(decimal(i) for i in v)}\\right)",
               f"({' , '.join(texts)})", f"({', '.join(frac(i, chr(92) + 'dfrac') for i in v)})"]
        if len(v) == 2:
            out += [f"(x,y)=({', '.join(texts)})", f"x={texts[0]},y={texts[1]}"]
        return out


class Mat(Kind):
    def draw(self, r):
        rows, columns = r.choice([(1, 2), (2, 1), (3, 1), (2, 2), (2, 2), (2, 3)])
        return tuple(tuple(r.choice([Fraction(r.randint(-9, 9)), Fraction(r.randint(-9, 9)), Fraction(r.randint(-9, 9), 2)]) for _ in range(columns)) for _ in range(rows))

    def near(self, r, v):
        flat = tuple(zip(*v))
        changed = ((v[0][0] + 1,) + v[0][1:],) + v[1:]
        return r.choice([changed, flat if flat != v else changed, tuple(tuple(-c if c else Fraction(1) for c in row) for row in v)])

    def forms(self, r, v):
        def body(cell, gap=""):
            return f"{gap}\\\\{gap}".join(f"{gap}&{gap}".join(cell(c) for c in row) for row in v)

        out = [f"\\begin{{{kind}}}{body(frac)}\\end{{{kind}}}" for kind in ("pmatrix", "bmatrix", "pmatrix", "bmatrix")]
        out += [f"\\begin{{pmatrix}} {body(frac, ' ')} \\end{{pmatrix}}", f"\\begin{{bmatrix}}{body(decimal)}\\end{{bmatrix}}",
                f"\\left[\\begin{{matrix}}{body(frac)}\\end{{matrix}}\\right]",
                f"\\left[\\begin{{array}}{{{'c' * len(v[0])}}}{body(frac)}\\end{{array}}\\right]", f"\\begin{{pmatrix}}{body(lambda c: frac(c, chr(92) + 'dfrac'))}\\end{{pmatrix}}"]
        return out

    def rewritten(self, r, v):
        rows = "\\\\".join("&".join(frac(2 * c) for c in row) for row in v)
        return [f"\\frac{{1}}{{2}}\\begin{{pmatrix}}{rows}\\end{{pmatrix}}"]


class Cplx(Kind):
    def draw(self, r):
        return r.randint(-9, 9), r.choice([-1, 1]) * r.randint(1, 9)

    def near(self, r, v):
        a, b = v
        return r.choice([(a, -b), (a + 1, b), (a, b + (2 if b == -1 else 1)), (-a if a else 2, b), (b, a if a else 3)])

    def forms(self, r, v):
        a, b = v
        imaginary = term(b, "i", True)
        if a == 0:
            return [imaginary, f"{b}\\cdot i" if abs(b) > 1 else imaginary, f"({imaginary})", f"0{term(b, 'i')}", f"{{{imaginary}}}", f"${imaginary}$",
                    f"{imaginary}+0", f"{b} i" if abs(b) > 1 else imaginary]
        sign, size = "+" if b > 0 else "-", abs(b) if abs(b) > 1 else ""
        return [f"{a}{term(b, 'i')}", f"{imaginary}{signed(a)}", f"{a} {sign} {size}i", f"{a}{sign}{size}\\cdot i" if size else f"{a}{sign}i",
                f"({a}{term(b, 'i')})", f"\\left({a}{term(b, 'i')}\\right)", f"{a} {sign} {size} i" if size else f"{a} {sign} i", f"{{{a}{term(b, 'i')}}}",
                f"{imaginary} {'-' if a < 0 else '+'} {abs(a)}", f"${a}{term(b, 'i')}$"]

    def rewritten(self, r, v):
        a, b = v
        k = r.randint(2, 5)
        return [f"\\frac{{{k * a}{term(k * b, 'i')}}}{{{k}}}" if a else f"\\frac{{{k * b}i}}{{{k}}}", f"i({b}{term(-a, 'i')})" if a else f"i\\cdot {b}"]


class Const(Kind):
    def draw(self, r):
        return r.choice(["\\pi", "\\pi", "\\pi", "e", "\\ln 2", "\\sqrt{\\pi}"]), Fraction(r.choice([-1, 1, 1, 1]) * r.randint(1, 20), r.choice([1, 1, 1, 2, 3, 4]))

    def near(self, r, v):
        return v[0], r.choice([v[1] + 1, v[1] * 2, -v[1], v[1] + Fraction(1, 2), 1 / v[1] if abs(v[1]) != 1 else v[1] * 3])

    def forms(self, r, v):
        name, k = v
        n, d = k.numerator, k.denominator
        value = {"\\pi": math.pi, "e": math.e, "\\ln 2": math.log(2), "\\sqrt{\\pi}": math.sqrt(math.pi)}[name] * float(k)
        top = term(n, name, True)
        plain = top if d == 1 else f"\\frac{{{top}}}{{{d}}}"
        out = [plain, plain, f"\\frac{{{3 * n}{name}}}{{{3 * d}}}", f"{frac(k)}\\cdot {name}", f"{frac(k)}{name}" if abs(k) != 1 else plain,
               f"{value:.{r.choice([6, 8, 9])}f}", f"{frac(k)} \\times {name}"]
        if name == "\\pi":
            out += [f"{n}*pi" + (f"/{d}" if d > 1 else ""), plain.replace("\\pi", "π")]
        return out

    def rewritten(self, r, v):
        name, k = v
        return [f"{frac(3 * k)}{name} - {frac(2 * k)}{name}" if k > 0 and 3 * k != 1 and 2 * k != 1 else f"{frac(k)}{name} + 0"]


CLASSES = {"int": Int, "dec": Dec, "frac": Frac, "root": Root, "pow": Pow, "pct": Pct, "unit": Unit, "text": Text, "expr": Expr, "eq": Eq, "ineq": Ineq,
           "ival": Ival, "set": Set, "tuple": Tuple, "mat": Mat, "cplx": Cplx, "const": Const}

RESPONSES = ["The final answer is \\boxed{%s}.", "So we get\n\\[\\boxed{%s}\\]", "Therefore, $\\boxed{%s}$.", "Hence the value is $\\boxed{%s}$",
             "After simplification,\n\n$$\\boxed{%s}$$\n", "The answer is $%s$."]


def write(r, kind, value, usual, rewritten):
    """The first form is the usual one."""
    if r.random() < rewritten and (others := kind.rewritten(r, value)):
        return r.choice(others)
    forms = kind.forms(r, value)
    return (forms[0] if r.random() < usual else r.choice(forms)).strip()


def pairs(count, seed, usual, rewritten):
    r = random.Random(seed)
    kinds = {name: make() for name, make in CLASSES.items()}
    out = []
    for i in range(count):
        name = list(kinds)[i % len(kinds)]
        kind = kinds[name]
        value = kind.draw(r)
        same = i // len(kinds) % 2 == 0
        other = value
        while not same and other == value:
            other = kind.near(r, value)
        gold = write(r, kind, value, usual, rewritten)
        for _ in range(5):  # the same text twice tests little
            answer = write(r, kind, other, usual, rewritten)
            if answer != gold:
                break
        gold = gold[1:-1] if gold.startswith("$") else gold
        answer = answer[1:-1] if answer.startswith("$") else answer
        out.append({"class": name, "gold": gold, "response": r.choice(RESPONSES).replace("%s", answer), "same_value": same})
    return out


# ---------------------------------------------------------------- both verifiers


def theirs(rows, timeout=5):
    from math_verify import parse, verify
    logging.disable(logging.CRITICAL)
    return [bool(verify(parse("\\boxed{%s}" % row["gold"], parsing_timeout=timeout), parse(row["response"], parsing_timeout=timeout),
                        timeout_seconds=timeout)) for row in rows]


def ours(command, rows):
    text = "".join(json.dumps({"gold": row["gold"], "response": row["response"]}) + "\n" for row in rows)
    out = subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def versions():
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in VERSIONS}


def agree(args):
    rows = pairs(args.pairs, args.seed, args.usual, args.rewritten)
    own = ours(args.command, rows)
    peer = theirs(rows)
    counts, agreed, missing = {}, {}, 0
    shown = {}
    for row, verdict, right in zip(rows, own, peer):
        name = row["class"]
        same = (verdict["verdict"] == "correct") == right and verdict["verdict"] != "unverifiable"
        counts[name] = counts.get(name, 0) + 1
        agreed[name] = agreed.get(name, 0) + same
        missing += verdict["verdict"] == "unverifiable"
        if not same:
            shown.setdefault(name, []).append((row, verdict, right))
    print(f"{len(rows)} pairs, seed {args.seed}; {versions()}")
    for name in counts:
        print(f"{name:6} {agreed[name]:6} of {counts[name]:6}  {100 * agreed[name] / counts[name]:6.2f} %")
    print(f"all    {sum(agreed.values()):6} of {len(rows):6}  {100 * sum(agreed.values()) / len(rows):6.2f} %   unverifiable: {missing}")
    by_value = [sum((v == row["same_value"]) for row, v in zip(rows, verdicts)) for verdicts in ([v["verdict"] == "correct" for v in own], peer)]
    print(f"as the values were drawn: vernier {100 * by_value[0] / len(rows):.2f} %, math-verify {100 * by_value[1] / len(rows):.2f} %")
    for name, cases in shown.items():
        for row, verdict, right in cases[:args.show]:
            print(f"  {name}: {row['gold']}  |  {row['response']!r}\n      math-verify {right}, vernier {verdict['verdict']}"
                  f" ({verdict['reason']}); the same value: {row['same_value']}")
    if args.dump:
        pathlib.Path(args.dump).write_text("".join(json.dumps({"row": row, "ours": v, "theirs": p}) + "\n"
                                                   for cases in shown.values() for row, v, p in cases))


def golden(args):
    rows = pairs(args.pairs, args.seed, args.usual, args.rewritten)
    peer = theirs(rows)
    own = ours(args.command, rows)
    cases = []
    for row, right, verdict in zip(rows, peer, own):
        case = {"class": row["class"], "gold": row["gold"], "response": row["response"], "math_verify": right}
        if (verdict["verdict"] == "correct") != right or verdict["verdict"] == "unverifiable":
            case["vernier"] = verdict["verdict"]
        cases.append(case)
    head = {"about": "pairs of tools/compare_math_verify.py golden; `vernier` where our verdict differs, see docs/rewards.md",
            "seed": args.seed, "usual": args.usual, "rewritten": args.rewritten, "versions": versions()}
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    text = json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + lines + "\n ]\n}\n"
    pathlib.Path(args.out).write_text(text)
    print(f"{len(cases)} pairs, {sum('vernier' in c for c in cases)} with another verdict")


def speed(args):
    rows = pairs(args.pairs, args.seed, args.usual, args.rewritten)
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    theirs(rows[:50])  # its grammar is built on the first calls
    mine, other = [], []
    many = rows * max(1, args.repeat)
    for _ in range(args.rounds):
        begin = time.perf_counter()
        ours(args.command, rows[:1])
        start = time.perf_counter() - begin
        text = "".join(json.dumps({"gold": row["gold"], "response": row["response"]}) + "\n" for row in many)
        begin = time.perf_counter()
        subprocess.run(args.command, input=text, check=True, stdout=subprocess.DEVNULL, text=True)
        mine.append(len(many) / (time.perf_counter() - begin - start))
        begin = time.perf_counter()
        theirs(rows)
        other.append(len(rows) / (time.perf_counter() - begin))
    a, b = statistics.median(mine), statistics.median(other)
    print(f"{len(rows)} pairs, {args.rounds} rounds in turns, one core: vernier {a:,.0f} pairs/s ({min(mine):,.0f} to {max(mine):,.0f}),"
          f" math-verify {b:,.0f} ({min(other):,.0f} to {max(other):,.0f}), ratio {a / b:,.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["agree", "golden", "speed"])
    parser.add_argument("--vernier", required=True, help="the program vernier")
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--usual", type=float, default=0.7, help="share of texts in their class's usual form; the others are drawn evenly from all forms")
    parser.add_argument("--rewritten", type=float, help="share of texts that are rewritten, as far as a class has such; 0, or 0.3 for golden")
    parser.add_argument("--show", type=int, default=0, help="examples of each class that differ")
    parser.add_argument("--dump", help="file for all pairs that differ")
    parser.add_argument("--out", help="golden: the file to write")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=50, help="speed: times that vernier reads the pairs")
    args = parser.parse_args()
    args.pairs = args.pairs or {"agree": 20000, "golden": 612, "speed": 1000}[args.what]
    if args.rewritten is None:
        args.rewritten = 0.3 if args.what == "golden" else 0.0
    args.command = [args.vernier, "verify"]
    sys.setrecursionlimit(20000)
    {"agree": agree, "golden": golden, "speed": speed}[args.what](args)


if __name__ == "__main__":
    main()
