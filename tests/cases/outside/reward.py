"""A reward that scores the length of a text, or misbehaves: python3 reward.py MODE [ARGUMENT]."""

import json
import mmap
import fcntl
import os
import resource
import signal
import subprocess
import sys
import time

mode = sys.argv[1]
argument = sys.argv[2] if len(sys.argv) > 2 else ""


def write(value):
    print(value if isinstance(value, str) else json.dumps(value), flush=True)


if mode == "loading":
    time.sleep(float(argument))

for number, line in enumerate(sys.stdin):
    request = json.loads(line)
    rewards = [{"score": float(len(response["text"])), "components": {"tokens": response["num_tokens"]}}
               for response in request["responses"]]
    reply = {"id": request["id"], "rewards": rewards}
    text = request["responses"][0]["text"]
    if mode == "mixed":  # what a response says is what happens to its question
        kind = text
    else:
        kind = mode
    if kind == "sleep":
        time.sleep(3600)
    elif kind == "loading" and text == "stay":
        time.sleep(3600)
    elif kind == "die":
        sys.exit(3)
    elif kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == "garbage":
        write("<html>not what was asked for</html>")
        continue
    elif kind == "chatty":
        write("Loading model...")
    elif kind == "late":
        time.sleep(float(argument or 1))
    elif kind == "nan":
        rewards[0]["score"] = float("nan")
    elif kind == "few":
        rewards.pop()
    elif kind == "version":
        reply["v"] = 2
    elif kind == "other":
        reply["id"] = "another"
    elif kind == "twice":
        write(reply)
    elif kind == "abstain":
        rewards[0] = {"abstain": "no opinion"}
    elif kind == "threw":
        rewards[0] = {"abstain": "ValueError: 7", "failed": "threw"}
    elif kind == "group":  # the share of the group's tokens
        total = sum(response["num_tokens"] for response in request["responses"])
        for response, reward in zip(request["responses"], rewards):
            reward["score"] = response["num_tokens"] / total
    elif kind == "row":
        rewards[0]["score"] = float(request["row"]["points"])
    elif kind == "flood":
        while True:
            sys.stdout.write("x" * (1 << 16))
    elif kind == "lines":
        while True:
            sys.stdout.write("x\n" * (1 << 15))
    elif kind == "parting":  # ends behind its answer, which comes late in what it writes
        sys.stdout.write("\n" * 5000)
        write(reply)
        sys.exit(0)
    elif kind == "behind":  # ends behind a reading of nothing, in a pipe that holds both
        fcntl.fcntl(1, 1031, 1 << 20)  # F_SETPIPE_SZ
        os.write(1, (b" " * 255 + b"\n") * 256)
        write(reply)
        sys.exit(0)
    elif kind == "debug":  # says more behind its answer than is read at a time
        sys.stdout.write(json.dumps(reply) + "\n" + "".join(f"debug {i}\n" for i in range(1000)))
        sys.stdout.flush()
        continue
    elif kind == "frugal":  # from its first question on
        resource.setrlimit(resource.RLIMIT_CPU, (3, 3))
    elif kind == "loud":
        for i in range(1000):
            print("line", i, file=sys.stderr)
    elif kind == "deaf":
        os.close(0)
        sys.stdin = None
        write(reply)
        time.sleep(3600)
    elif kind == "child":  # leaves one that holds its output, in another session
        child = subprocess.Popen(["sleep", "3600"], start_new_session=True)
        if argument:
            with open(argument, "w") as file:
                file.write(str(child.pid))
        write(reply)
        sys.exit(0)
    elif kind == "memory":
        try:
            block = mmap.mmap(-1, 4 << 30)
            rewards[0]["score"] = 1.0
        except OSError:
            rewards[0]["score"] = -1.0
    elif kind == "network":
        import socket
        try:
            socket.create_connection(("127.0.0.1", int(argument)), timeout=2).close()
            rewards[0]["score"] = 1.0
        except OSError:
            rewards[0]["score"] = -1.0
    elif kind == "spin":
        while True:
            pass
    write(reply)
