"""Pays 1 for an answer of at most ten words."""
import json
import sys

for line in sys.stdin:
    request = json.loads(line)
    rewards = []
    for response in request["responses"]:
        words = len(response["text"].split())
        rewards.append({"score": float(words <= 10), "components": {"words": words}})
    print(json.dumps({"id": request["id"], "rewards": rewards}), flush=True)
