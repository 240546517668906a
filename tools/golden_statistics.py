"""Regenerates tests/cases/metrics/statistics.json: what exact fractions and numpy make of the statistics
that evaluations report.

    python3 -m venv golden-venv
    golden-venv/bin/pip install numpy==2.4.6
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rng = np.random.default_rng(SEED)
    content = {
        "versions": {"python": platform.python_version(), "numpy": metadata.version("numpy")},
        "pass_at_k": pass_at_k(),
        "quantile": quantiles(rng),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
