"""Regenerates tests/cases/model/smollm2_greedy.jsonl: what `transformers` answers to 50 questions in the
model's chat format, always taking the most probable token, 128 at most, in fp32.

    vernier convert --model SmolLM2-135M-Instruct.Q4_1.gguf --out FOLDER --dtype f32
    golden_greedy.py --model FOLDER --out tests/cases/model/smollm2_greedy.jsonl [--guess ROWS.jsonl]

The environment, Python 3.11 or later:

    python3 -m venv golden-venv
    golden-venv/bin/pip install torch==2.11.0 transformers==5.24.0 numpy

Both sides hold the same numbers: the folder has the dequantised weights. A guess (rows of `vernier
generate --greedy`) only saves time: one pass shows how far it is what the model itself would take, and the
answer goes on from there. Beside each answer stands the smallest lead of a taken token over the next
best one: where that is below the rounding of fp32, two correct programs may part.
"""

import argparse
import json
import os
import platform
from importlib import metadata

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TOKENS = 128
SUBJECTS = ["the sea", "a clock", "prime numbers", "bread", "the moon", "a bridge", "rain", "chess", "a library", "iron"]
FORMS = [
    "Write a long story about {}.",
    "Explain {} to a child, step by step.",
    "List ten facts about {}.",
    "Write a Python program that has to do with {}.",
    "Compare {} with its opposite, at length.",
]


def answer(model, prompt, guess, end):
    """The most probable token after the prompt, until the end or TOKENS times, and the smallest lead."""
    ids, leads = [], []
    while len(ids) < TOKENS and end not in ids:
        ahead = (guess[len(ids):TOKENS] if guess[:len(ids)] == ids else [])[:TOKENS - len(ids)]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + ids + ahead])).logits[0, len(prompt) + len(ids) - 1:]
        best = logits.topk(2, dim=1)
        for place in range(min(len(ahead) + 1, TOKENS - len(ids))):
            token = best.indices[place, 0].item()
            ids.append(token)
            leads.append((best.values[place, 0] - best.values[place, 1]).item())
            if token == end or place >= len(ahead) or ahead[place] != token:
                break
    return ids, min(leads)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--guess")
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    guesses = {}
    if options.guess:
        with open(options.guess, encoding="utf-8") as file:
            guesses = {tuple(row["prompt_ids"]): row["response_ids"] for row in map(json.loads, file)}
    rows = []
    for form in FORMS:
        for subject in SUBJECTS:
            prompt = form.format(subject)
            prompt_ids = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=False)
            ids, lead = answer(model, prompt_ids, guesses.get(tuple(prompt_ids), []), tokenizer.eos_token_id)
            rows.append({"prompt": prompt, "prompt_ids": prompt_ids, "ids": ids, "smallest_lead": round(lead, 6)})
    versions = {name: metadata.version(name) for name in ("torch", "transformers", "tokenizers")}
    with open(options.out, "w", encoding="utf-8") as file:
        file.write(json.dumps({"versions": {**versions, "python": platform.python_version()}, "tokens": TOKENS}) + "\n")
        for row in rows:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
