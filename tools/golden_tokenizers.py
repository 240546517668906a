#!/usr/bin/env python3
"""Tokenizer files of many kinds, and what the library `tokenizers` makes of texts.

    golden_tokenizers.py write --out tests/cases/text/tokenizers
    golden_tokenizers.py compare --bench build/release/bench_tokenizer --count 100000 [--kind llama3]

`write` trains a small vocabulary for every kind, in the shape of the models' own tokenizer.json, and
writes it with ids and decoded texts. `compare` draws new texts and holds the program
bench_tokenizer to the library; it prints what differs and how much was compared.

Training breaks ties between merges in the order of a hash table: a second `write` gives other
vocabularies of some kinds, and ids that fit them.

The environment is golden.py's, whose pools of texts it uses, with tokenizers==0.23.3.
"""
import argparse
import json
import pathlib
import platform
import random
import subprocess
import sys
import tempfile
import unicodedata
from importlib import metadata

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from golden import (ACCENTED, BLOCKS, CODE, CONTRACTIONS, EMOJI, FOREIGN, INVISIBLE, LATEX, ODD_DIGITS, PROSE, SPACES,  # noqa: E402
                    WIDE_SPACES, WORDS)

NUM_COMMON, NUM_OWN, NUM_ID_ROWS = 450, 600, 60
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
DEEPSEEK_V3 = [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
               r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""]
DEEPSEEK_CODER = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+"]
DEEPSEEK_LLM = [r"[\r\n]", r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕ]+",
                r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", r"[一-龥ࠀ-一가-퟿]+"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|eot_id|>", "<s>", "</s>", "<unk>", "<mask>",
           "<｜begin▁of▁sentence｜>", "<think>", "word", "WORD", "  ", "é!", "ﬁn", "[SEP]"]


# ---------------------------------------------------------------- kinds


def split(regex, behavior="Isolated", invert=False, string=False):
    return {"type": "Split", "pattern": {"String" if string else "Regex": regex}, "behavior": behavior, "invert": invert}


def byte_level(use_regex=False):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def sequence(steps, key="pretokenizers"):
    return {"type": "Sequence", key: steps}


def metaspace(scheme, split=True):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


def replace(pattern, content, key="String"):
    return {"type": "Replace", "pattern": {key: pattern}, "content": content}


LLAMA_NORMALIZER = sequence([{"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")], "normalizers")
LLAMA_DECODER = sequence([replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"},
                          {"type": "Strip", "content": " ", "start": 1, "stop": 0}], "decoders")
FIRST_DECODER = sequence([replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"}], "decoders")


def added(content, special=True, **flags):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": not special, "special": special} | flags


class Kind:
    """One tokenizer.json. `first` tokens head the vocabulary, `tokens` are added behind it."""

    def __init__(self, pre, normalizer=None, decoder=None, first=(), tokens=(), before=(), after=(), pairs=True, size=500, **model):
        self.pre, self.normalizer, self.decoder = pre, normalizer, decoder or byte_level(True)
        self.first, self.tokens, self.before, self.after = list(first), list(tokens), before, after
        self.pairs, self.size, self.model = pairs, size, model


def text_kind(pre, normalizer=None, decoder=LLAMA_DECODER, bytes=range(256), **rest):
    first = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in bytes]
    settings = {"unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True} | rest
    tokens = settings.pop("tokens", [added(t, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    return Kind(pre, normalizer, decoder, first, tokens, size=650, **settings)


END = added("<|endoftext|>")
CHAT = [added("<|im_start|>"), added("<|im_end|>"), END, added("<think>", special=False, normalized=False)]
LLAMA3_TOKENS = [added("<|begin_of_text|>"), added("<|eot_id|>"), END]
DEEPSEEK = [added("<｜begin▁of▁sentence｜>"), added("<think>", special=False, normalized=False), END]
ODD = [added("<mask>", lstrip=True), added("[SEP]", rstrip=True), added("word", False, single_word=True), added("  ", False),
       added("<s>", lstrip=True, rstrip=True), added("é!", False), added("ﬁn", False, lstrip=True, single_word=True),
       added("</s>", False, normalized=False, single_word=True, rstrip=True), added("WORD", False, rstrip=True)]
NFC = {"type": "NFC"}

KINDS = {
    "gpt2": Kind(byte_level(True), tokens=[END], pairs=False),
    "smollm2": Kind(sequence([{"type": "Digits", "individual_digits": True}, byte_level(True)]), tokens=CHAT, pairs=False),
    "llama3": Kind(sequence([split(LLAMA3), byte_level()]), tokens=LLAMA3_TOKENS, before=["<|begin_of_text|>"], ignore_merges=True),
    "smollm3": Kind(sequence([split(LLAMA3), byte_level()]), tokens=LLAMA3_TOKENS + CHAT[:2], ignore_merges=True, pairs=False),
    "qwen2": Kind(sequence([split(QWEN2), byte_level()]), NFC, tokens=CHAT),
    "olmo": Kind(byte_level(True), NFC, tokens=[END, added("  ", False), added("    ", False)], after=["<|endoftext|>"]),
    "olmo2": Kind(sequence([split(LLAMA3), byte_level()]), tokens=CHAT),
    "cl100k": Kind(sequence([split(CL100K), byte_level()]), tokens=CHAT),
    "deepseek-r1-llama": Kind(sequence([split(LLAMA3), byte_level()]), tokens=DEEPSEEK, before=["<｜begin▁of▁sentence｜>"], ignore_merges=True),
    "deepseek-r1-qwen": Kind(sequence([split(QWEN2), byte_level()]), tokens=DEEPSEEK, before=["<｜begin▁of▁sentence｜>"]),
    "deepseek-v3": Kind(sequence([split(r) for r in DEEPSEEK_V3] + [byte_level()]), sequence([], "normalizers"), tokens=DEEPSEEK),
    "deepseek-coder": Kind(sequence([split(r) for r in DEEPSEEK_CODER] + [{"type": "Digits", "individual_digits": True}, byte_level()]),
                           sequence([], "normalizers"), tokens=DEEPSEEK),
    "deepseek-llm": Kind(sequence([split(r) for r in DEEPSEEK_LLM] + [{"type": "Digits", "individual_digits": True}, byte_level()]),
                         tokens=DEEPSEEK),
    "llama2": text_kind(None, LLAMA_NORMALIZER, before=["<s>"]),
    "llama2-normalized": text_kind(None, LLAMA_NORMALIZER, tokens=[added("<unk>", normalized=True), added("<s>", normalized=True),
                                                                    added("</s>", normalized=True), added("word", False)]),
    "mistral": text_kind(metaspace("first", False), decoder=FIRST_DECODER, before=["<s>"], after=["</s>"], fuse_unk=False),
    "metaspace-always": text_kind(metaspace("always"), decoder=metaspace("always"), byte_fallback=False),
    "metaspace-never": text_kind(metaspace("never", False), decoder=metaspace("never"), byte_fallback=False, fuse_unk=False),
    "metaspace-legacy": text_kind({"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}),
    "few-bytes": text_kind(metaspace("first", False), bytes=[*range(0x20, 0x80), *range(0xC0, 0xE0), *range(0x80, 0xC0)], ignore_merges=True,
                           tokens=ODD),
    "gemma": text_kind(split(" ", "MergedWithPrevious", string=True), replace(" ", "▁"), decoder=FIRST_DECODER),
    "odd-added": Kind(byte_level(True), sequence([NFC, {"type": "Lowercase"}], "normalizers"), tokens=ODD[:-1]),
    "odd-splits": Kind(sequence([split(r"\p{Lu}", "MergedWithNext"), split("e", "MergedWithPrevious", string=True), split(r"\d+", "Contiguous"),
                                 split(r"[aeiou]+|\s", "Removed"), split(r"\p{Han}+", "Isolated", True), split(r"[,;]", "MergedWithNext", True),
                                 {"type": "Digits", "individual_digits": False}, byte_level()])),
    "odd-normal": Kind(sequence([split(GPT2), byte_level()]),
                       sequence([{"type": "NFKD"}, {"type": "Strip", "strip_left": True, "strip_right": False}, replace(r"\s{2,}", " ", "Regex"),
                                 {"type": "NFKC"}, replace("``", "\""), {"type": "Strip", "strip_left": False, "strip_right": True},
                                 {"type": "NFD"}], "normalizers"), tokens=[added("ﬁn", False), added("word", False, single_word=True)]),
}


def post_processor(kind, ids):
    def special(token):
        return {"SpecialToken": {"id": token, "type_id": 0}}

    def text(which):
        return {"Sequence": {"id": which, "type_id": 0}}

    if not kind.before and not kind.after:
        return byte_level(True)
    single = [*map(special, kind.before), text("A"), *map(special, kind.after)]
    tokens = {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in [*kind.before, *kind.after]}
    template = {"type": "TemplateProcessing", "single": single, "pair": single + [text("B")], "special_tokens": tokens}
    return sequence([byte_level(True), template], "processors") if kind.before else template


POOLS = (PROSE + CODE + LATEX + FOREIGN + WORDS) * 2


def build(kind, corpus=POOLS, size=None):
    """The text of a tokenizer.json: a vocabulary trained on a corpus, in the kind's shape."""
    skeleton = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": kind.normalizer, "pre_tokenizer": kind.pre,
                "post_processor": None, "decoder": kind.decoder}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
             "byte_fallback": False, "ignore_merges": False, "vocab": {}, "merges": []}
    trainee = Tokenizer.from_str(json.dumps(skeleton | {"model": model}))
    if kind.pre is None or kind.pre.get("split") is False:  # words, as SentencePiece learns them
        trainee.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next") if kind.normalizer else pre_tokenizers.Metaspace("▁", "always")
    trainee.model = models.BPE(**({"unk_token": kind.model["unk_token"]} if "unk_token" in kind.model else {}))
    alphabet = pre_tokenizers.ByteLevel.alphabet() if "ByteLevel" in json.dumps(kind.pre) else []
    trainer = trainers.BpeTrainer(vocab_size=size or kind.size, special_tokens=kind.first, initial_alphabet=alphabet, show_progress=False,
                                  limit_alphabet=256 if alphabet else size or 180)
    trainee.train_from_iterator(corpus, trainer)
    learned = json.loads(trainee.to_str())["model"]
    model |= {"vocab": learned["vocab"], "merges": learned["merges"] if kind.pairs else [" ".join(m) for m in learned["merges"]]} | kind.model
    ids = dict(model["vocab"])
    tokens = []
    for token in kind.tokens:
        ids.setdefault(token["content"], len(ids))
        tokens.append({"id": ids[token["content"]]} | token)
    tokens.sort(key=lambda t: t["id"])
    return json.dumps(skeleton | {"added_tokens": tokens, "post_processor": post_processor(kind, ids), "model": model}, ensure_ascii=False,
                      separators=(",", ":"))


def with_every_pair(source, rng):
    """The same with a merge for every pair of bytes, so that ids show where every piece ends."""
    tokenizer = json.loads(source)
    if "ByteLevel" not in json.dumps(tokenizer["pre_tokenizer"]):
        return source
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [[a, b] for a in alphabet for b in alphabet]
    rng.shuffle(merges)
    vocab = {t: i for i, t in enumerate(alphabet + [a + b for a, b in merges])}
    tokenizer["model"] |= {"vocab": vocab, "merges": merges}
    for i, token in enumerate(tokenizer["added_tokens"]):
        token["id"] = vocab.setdefault(token["content"], len(vocab))
    tokenizer["added_tokens"].sort(key=lambda t: t["id"])
    tokenizer["post_processor"] = None
    return json.dumps(tokenizer)


# ---------------------------------------------------------------- texts

ASSIGNED = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]  # Python 3.11: Unicode 14
LATE = [c for c in ASSIGNED if unicodedata.ucd_3_2_0.category(chr(c)) == "Cn" and not 0x20000 <= c < 0x32000 and not 0x17000 <= c < 0x18D00]
MARKS = [c for c in ASSIGNED if unicodedata.category(chr(c))[0] == "M"]
NUMBERS = [c for c in ASSIGNED if unicodedata.category(chr(c))[0] == "N"]
DECOMPOSING = [c for c in ASSIGNED if unicodedata.decomposition(chr(c)) or 0xAC00 <= c < 0xD7A4]
LATIN = [chr(c) for c in range(0x20, 0x7F)]


def draw(rng, pool, most, least=1):
    return [rng.choice(pool) for _ in range(rng.randint(least, most))]


def characters(rng, pool, most):
    return "".join(chr(c) for c in draw(rng, pool, most))


def piece(rng):
    """A part of a text; joined without anything between them they are what no one would write."""
    pools = [WORDS, WORDS, SPACES, SPACES, WIDE_SPACES, INVISIBLE, CONTRACTIONS, list(ODD_DIGITS), EMOJI, ACCENTED, SPECIAL, SPECIAL, LATIN, LATIN]
    which = rng.randrange(len(pools) + 8)
    if which < len(pools):
        return rng.choice(pools[which])
    makers = [lambda: str(rng.randrange(10 ** rng.randint(1, 9))), lambda: characters(rng, ASSIGNED, 3), lambda: characters(rng, LATE, 3),
              lambda: characters(rng, MARKS, 4), lambda: characters(rng, NUMBERS, 4), lambda: characters(rng, DECOMPOSING, 3),
              lambda: rng.choice(["'", "’", "'", "▁", "<0x", "<0x0A>", "▁▁", "``", "'ſ", "'K", "'Ll", "'RE", "İ", "ß"]),
              lambda: characters(rng, range(*rng.choice(BLOCKS)), 4)]
    return makers[which - len(pools)]()


def text(rng):
    which = rng.randrange(10)
    if which < 6:
        return "".join(piece(rng) for _ in range(rng.randint(1, 14)))
    if which == 6:
        return "".join(draw(rng, SPACES + LATIN[:40] + ["a", "B", "1", "é", "'"], 12))
    if which == 7:
        whole = rng.choice(PROSE + CODE + LATEX + FOREIGN)
        begin = rng.randrange(len(whole))
        return whole[begin:begin + rng.randint(5, 60)]
    if which == 8:
        return " ".join(draw(rng, WORDS + EMOJI + SPECIAL + CONTRACTIONS, 8))
    return characters(rng, ASSIGNED, 10)


def texts(rng, count, known=()):
    out, seen = [], set(known)
    while len(out) < count:
        one = text(rng)
        if one not in seen and one:
            seen.add(one)
            out.append(one)
    return out


# ---------------------------------------------------------------- goldens


def encoded(tokenizer, one):
    ids = tokenizer.encode(one, add_special_tokens=False).ids
    return ids, tokenizer.encode(one).ids, tokenizer.decode(ids, skip_special_tokens=False)


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    subprocess.run(["zstd", "-q", "-19", "-f", "-o", str(path)], input=lines.encode(), check=True)


def write(out):
    versions = {"python": platform.python_version(), "tokenizers": metadata.version("tokenizers"), "unicode": unicodedata.unidata_version}
    rng = random.Random(20240229)
    pool = texts(rng, NUM_COMMON + NUM_OWN * len(KINDS))
    write_rows(out / "texts.jsonl.zst", [{"versions": versions}] + [{"text": one} for one in pool])
    for number, (name, kind) in enumerate(KINDS.items()):
        source = build(kind)
        (out / name).mkdir(parents=True, exist_ok=True)
        (out / name / "tokenizer.json").write_text(source, encoding="utf-8", newline="\n")
        tokenizer = Tokenizer.from_str(source)
        own = NUM_COMMON + NUM_OWN * number
        rows = [{"versions": versions, "common": NUM_COMMON, "first": own, "count": NUM_OWN}]
        around = encoded(tokenizer, "a")
        rows[0] |= {"a": around[0], "a_with_special": around[1]}
        for one in pool[:NUM_COMMON] + pool[own:own + NUM_OWN]:
            ids, special, decoded = encoded(tokenizer, one)
            assert len(special) - len(ids) == len(around[1]) - len(around[0])
            rows.append({"ids": ids} if decoded == one else {"ids": ids, "decoded": decoded})
        known = sorted(tokenizer.get_vocab(with_added_tokens=True).values())
        for _ in range(NUM_ID_ROWS):
            ids = draw(rng, known, 12)
            rows.append({"ids": ids, "decode_only": tokenizer.decode(ids, skip_special_tokens=False)})
        write_rows(out / name / "ids.jsonl.zst", rows)
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    print(f"{len(KINDS)} kinds, {len(pool)} texts, {size} bytes")


def compare(bench, count, names, seed, every_pair):
    rng = random.Random(seed)
    for name in names:
        pool = texts(rng, count)
        source = with_every_pair(build(KINDS[name]), rng) if every_pair else build(KINDS[name])
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "tokenizer.json").write_text(source, encoding="utf-8")
            (folder / "texts.jsonl").write_text("".join(json.dumps({"text": one}) + "\n" for one in pool))
            ours = subprocess.run([bench, folder / "tokenizer.json", folder / "texts.jsonl", "--ids"], check=True, stdout=subprocess.PIPE).stdout
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        differing = 0
        for one, line in zip(pool, ours.decode().split("\n")[:-1], strict=True):
            _, special, decoded = encoded(tokenizer, one)
            row = json.loads(line)
            if row["ids"] == special and row["text"] == decoded:
                continue
            differing += 1
            if differing <= 5:
                print(f"{name}: {one!r}\n  want {special} {decoded!r}\n  have {row['ids']} {row['text']!r}")
        print(f"{name}: {count} texts, {differing} differ", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["write", "compare"])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("tests/cases/text/tokenizers"))
    parser.add_argument("--bench", help="the program bench_tokenizer")
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every-pair", action="store_true", help="vocabularies whose ids show where every piece ends")
    args = parser.parse_args()
    if args.what == "write":
        write(args.out)
    else:
        compare(args.bench, args.count, args.kind or list(KINDS), args.seed, args.every_pair)


if __name__ == "__main__":
    main()
