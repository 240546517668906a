"""Pays the length; a quarter of the responses meet a fault: python3 faulty.py sleep|die|garbage|nan|few|late."""
import json, sys, time, zlib

for line in sys.stdin:
    request = json.loads(line)
    response = request["responses"][0]
    rewards = [{"score": response["num_tokens"] / 100}]
    if zlib.crc32(response["text"].encode()) % 4 == 0:
        if sys.argv[1] == "sleep":
            time.sleep(3600)
        if sys.argv[1] == "die":
            sys.exit(7)
        if sys.argv[1] == "late":
            time.sleep(2)
        rewards = {"nan": [{"score": float("nan")}], "few": []}.get(sys.argv[1], rewards)
        if sys.argv[1] == "garbage":
            print("<html>", flush=True)
            continue
    print(json.dumps({"id": request["id"], "rewards": rewards}), flush=True)
