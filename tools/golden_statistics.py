"""Regenerates tests/cases/metrics/statistics.json: what exact fractions, numpy and scipy make of the
statistics that evaluations and comparisons report.

    python3 -m venv golden-venv
    golden-venv/bin/pip install numpy==2.4.6 scipy==1.17.1
    golden-venv/bin/python tools/golden_statistics.py --out tests/cases/metrics/statistics.json

The file names the versions it was made with. All inputs come from a fixed seed.
"""

import argparse
import json
import math
import platform
from fractions import Fraction
from importlib import metadata
from pathlib import Path

import numpy as np
from scipy import optimize, stats

SEED = 20261201


def pass_at_k():
    """By exact fractions."""
    out = []
    for n, right, k in [(8, 3, 4), (16, 1, 8), (64, 7, 32), (200, 13, 100), (256, 255, 3), (1000, 2, 500), (1024, 40, 17)]:
        value = 1 - Fraction(math.comb(n - right, k), math.comb(n, k))
        out.append({"n": n, "right": right, "k": k, "value": float(value)})
    return out


def quantiles(rng):
    out = []
    for size in (1, 2, 31, 33, 257):
        values = rng.lognormal(3, 1, size).tolist()
        shares = (0.0, 0.025, 0.1, 0.5, 0.9, 0.975, 1.0)
        out.append({"values": values, "quantiles": [{"q": q, "value": float(np.quantile(values, q))} for q in shares]})
    return out


def sign_flips(rng):
    """Up to 16 differences: all signs, exactly. More: scipy's draws, of which a p-value is known to 0.002 or so."""
    out = []
    for size in (2, 5, 12, 16, 33, 257):
        differences = np.round(rng.normal(0.15, 1, size), 2)
        differences[:: 5] = 0
        found = stats.permutation_test(
            (differences,), lambda x, axis: x.sum(axis=axis), permutation_type="samples", vectorized=True, n_resamples=100_000, rng=rng
        )
        out.append({"differences": differences.tolist(), "p": float(found.pvalue)})
    return out


def holm_sets(rng):
    """By the definition: the largest of the smaller ones, each times the number of those not smaller."""
    out = []
    for size in (1, 2, 6, 15):
        p = rng.uniform(0, 0.2, size)
        order = np.argsort(p)
        adjusted = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(size, 0, -1)))
        out.append({"p": p.tolist(), "holm": adjusted[np.argsort(order)].tolist()})
    return out


def length_controlled(rng):
    """scipy's minimum of the same penalised cross-entropy."""
    out = []
    for size in (2, 31, 257):
        length, difficulty = rng.normal(40, 80, size), rng.normal(0.5, 1.5, size)
        chance = 1 / (1 + np.exp(-(0.3 + 1.2 * np.tanh(length / 80) - 0.4 * difficulty)))
        preference = np.round(2 * np.clip(chance + rng.normal(0, 0.3, size), 0, 1)) / 2
        rows = np.stack([np.ones(size), np.tanh(length / length.std(ddof=1)), difficulty - difficulty.mean()], axis=1)

        def loss(w):
            z = rows @ w
            return np.sum(np.logaddexp(0, z) - preference * z) + w @ w / 2

        def slope(w):
            return rows.T @ (1 / (1 + np.exp(-rows @ w)) - preference) + w

        w = optimize.minimize(loss, np.zeros(3), jac=slope, method="BFGS", options={"gtol": 1e-10}).x
        q = 1 / (1 + np.exp(-rows @ w))
        error = np.linalg.inv((rows * (q * (1 - q))[:, None]).T @ rows + np.eye(3))[1, 1] ** 0.5
        out.append({
            "prompts": np.stack([preference, length, difficulty], axis=1).tolist(),
            "win": float(preference.mean()),
            "controlled": float((1 / (1 + np.exp(-rows[:, [0, 2]] @ w[[0, 2]]))).mean()),
            "length_effect": float(w[1]),
            "length_error": float(error),
        })
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rng = np.random.default_rng(SEED)
    content = {
        "versions": {"python": platform.python_version(), "numpy": metadata.version("numpy"), "scipy": metadata.version("scipy")},
        "pass_at_k": pass_at_k(),
        "quantile": quantiles(rng),
        "sign_flip": sign_flips(rng),
        "holm": holm_sets(rng),
        "length_controlled": length_controlled(rng),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
