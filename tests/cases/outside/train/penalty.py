"""configs/quickstart/naive-1 as a program: right or wrong, less length / 100."""
import json, re, sys

for line in sys.stdin:
    request = json.loads(line)
    rewards = []
    for response in request["responses"]:
        right = re.fullmatch(r"[^#]*#(\d)\.", response["text"])
        correct = float(bool(right) and right[1] == request["row"]["answer"])
        rewards.append({"score": correct - 1.0 * response["num_tokens"] / 100})
    print(json.dumps({"id": request["id"], "rewards": rewards}), flush=True)
