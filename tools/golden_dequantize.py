"""Regenerates tests/cases/weights/dequantize.json: what the `gguf` package makes of random blocks.

    golden_dequantize.py --out tests/cases

Needs gguf and numpy (`pip install gguf numpy`). The seed is fixed, so a second run changes the file
only where the package changed its mind. Bytes are hexadecimal; values are the float32 numbers in
full, and a test may ask for equality: every product is exact in float32, so a value is rounded at
most once.
"""

import argparse
import json
import platform
from importlib import metadata
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

SEED = 20240917
# Type, number of blocks, byte offsets of the half-precision scales in a block.
TYPES = [("F16", 64, [0]), ("BF16", 64, []), ("Q4_0", 3, [0]), ("Q4_1", 3, [0, 2]), ("Q5_0", 3, [0]), ("Q5_1", 3, [0, 2]),
         ("Q8_0", 3, [0]), ("Q4_K", 2, [0, 2]), ("Q5_K", 2, [0, 2]), ("Q6_K", 2, [208])]


def random_blocks(rng, name, count, scales):
    """Any bytes at all, but for the scales: finite, of either sign, some denormal."""
    size = GGML_QUANT_SIZES[GGMLQuantizationType[name]][1]
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for offset in scales:
        half = rng.integers(0, 0x7C00, count, dtype=np.uint16) | (rng.integers(0, 2, count, dtype=np.uint16) << 15)
        half[0] &= 0x83FF
        blocks[:, offset:offset + 2] = half.view(np.uint8).reshape(count, 2)
    if name == "BF16":
        high = blocks[:, 1]
        high[(high & 0x7F) == 0x7F] &= 0x81  # neither infinite nor NaN
    return blocks


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tests/cases"))
    args = parser.parse_args()
    rng = np.random.default_rng(SEED)
    cases = []
    for name, count, scales in TYPES:
        blocks = random_blocks(rng, name, count, scales).reshape(-1)
        values = dequantize(blocks, GGMLQuantizationType[name]).astype(np.float32)
        assert np.isfinite(values).all()
        cases.append({"type": name, "bytes": blocks.tobytes().hex(), "values": values.astype(np.float64).tolist()})
    versions = {"python": platform.python_version()} | {p: metadata.version(p) for p in ("gguf", "numpy")}
    path = args.out / "weights" / "dequantize.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(case) for case in cases)
    path.write_text(f'{{"versions": {json.dumps(versions)},\n"cases": [\n{lines}\n]}}\n', encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
