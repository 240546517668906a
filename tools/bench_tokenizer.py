#!/usr/bin/env python3
"""Speed of the tokenizer against the library `tokenizers`, one thread each, document by document.

    bench_tokenizer.py --bench build/release/bench_tokenizer [--kind llama3 ...] [--rounds 5]

The text is about 10 MB of this machine's manuals, headers and Python files, with sentences in many
languages, cut into documents of 1 to 10 KB; the vocabulary is trained on it. Rounds of both
programs take turns; medians are printed.
"""
import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
from tokenizers import Tokenizer  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from golden_tokenizers import FOREIGN, KINDS, PROSE, build  # noqa: E402

SOURCES = {"/usr/share/doc": 3_000_000, "/usr/include": 2_500_000, "/usr/lib/python3": 2_500_000}  # bytes of each
VOCABULARY = 32000


def read_sources(rng, folder, limit):
    files = sorted(p for p in pathlib.Path(folder).rglob("*") if p.is_file() and not p.is_symlink() and p.suffix not in (".gz", ".pyc", ".so"))
    rng.shuffle(files)
    out = ""
    for path in files:
        if len(out) >= limit:
            break
        try:
            out += path.read_text(encoding="utf-8")[:60_000] + "\n"
        except (UnicodeDecodeError, OSError):
            continue
    return out[:limit]


def documents(rng):
    """Files in turn, then sentences in many languages with numbers between them."""
    whole = "".join(read_sources(rng, folder, limit) for folder, limit in SOURCES.items())
    sentences = FOREIGN + PROSE
    whole += " ".join(rng.choice(sentences) if rng.random() < 0.9 else str(rng.randrange(10 ** 6)) for _ in range(24_000))
    out, begin = [], 0
    while begin < len(whole):
        length = rng.randint(1_000, 10_000)
        out.append(whole[begin:begin + length])
        begin += length
    rng.shuffle(out)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True, help="the program bench_tokenizer")
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    texts = documents(random.Random(5))
    num_bytes = sum(len(t.encode()) for t in texts)
    print(f"{len(texts)} documents, {num_bytes / 1e6:.2f} MB")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "texts.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
        for name in args.kind or ["gpt2", "llama3", "qwen2", "smollm2", "deepseek-v3", "llama2", "mistral"]:
            source = build(KINDS[name], texts[::3], VOCABULARY)
            (folder / "tokenizer.json").write_text(source, encoding="utf-8")
            theirs = Tokenizer.from_str(source)
            speeds = {"vernier": [], "vernier, first pass": [], "tokenizers": []}
            for _ in range(args.rounds):
                row = json.loads(subprocess.run([args.bench, folder / "tokenizer.json", folder / "texts.jsonl"], check=True,
                                                stdout=subprocess.PIPE).stdout)
                speeds["vernier"].append(row["mb_per_s"])
                speeds["vernier, first pass"].append(row["first_mb_per_s"])
                begin = time.perf_counter()
                ids = sum(len(theirs.encode(t, add_special_tokens=False)) for t in texts)
                speeds["tokenizers"].append(num_bytes / (time.perf_counter() - begin) / 1e6)
                assert ids == row["ids"], (ids, row["ids"])
            medians = {who: statistics.median(values) for who, values in speeds.items()}
            shown = ", ".join(f"{who} {value:.1f}" for who, value in medians.items())
            print(f"{name}: {shown} MB/s; ratio {medians['vernier'] / medians['tokenizers']:.1f}, "
                  f"of the first pass {medians['vernier, first pass'] / medians['tokenizers']:.1f}", flush=True)


if __name__ == "__main__":
    main()
