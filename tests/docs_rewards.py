"""Runs every snippet of docs/rewards.md: python3 tests/docs_rewards.py BUILD_FOLDER.

Files are written under the names that the page gives them, commands are run beside them, and each [[reward]] scores
stored responses by `vernier score`, where that program was built.
"""

import http.client
import json
import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/rewards.md"
NEIGHBOUR = ROOT / "rewards/accuracy.cpp"  # of the C++ file in the tree
SCORES = {  # what the responses "It is 42." and eleven words get
    "few_words": [1.0, 0.0], "program": [1.0, 0.0], "library": [0.98, 0.94], "judge": [1.0, 0.0], "mine": [1.0, None]}


def fail(message):
    sys.exit(f"{PAGE.name}: {message}")


def run(command, folder, **options):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, **options)
    if done.returncode != 0:
        fail(f"{command} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def compiled_in_tree(code, build):
    """As tests/compile_docs.py does."""
    database = build / "compile_commands.json"
    entry = next((one for one in json.loads(database.read_text()) if one["file"] == str(NEIGHBOUR)), None)
    if entry is None:
        fail(f"{database} does not know {NEIGHBOUR}")
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "example.cpp"
        source.write_text(code)
        arguments = shlex.split(entry["command"])
        arguments[arguments.index("-c") + 1] = str(source)
        arguments[arguments.index("-o") + 1] = str(pathlib.Path(folder) / "example.o")
        run(arguments, entry["directory"])


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    fail("the server does not listen")


def ask_server(port, question):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/score", question)
    return json.loads(connection.getresponse().read())


def check_answer(question, answer):
    if answer["id"] != question["id"] or len(answer["rewards"]) != len(question["responses"]):
        fail(f"{answer} does not answer {question}")


def score(vernier, folder, toml):
    """Scores by a snippet; gives its rewards by response."""
    (folder / "c.toml").write_text('[model]\npath = "none"\n' + toml)
    texts = ["It is 42.", "I do not know what it is and never shall know."]
    rows = [{"group": 0, "sample": i, "prompt": "What is 6 times 7?", "answer": "42", "response": text,
             "finish_reason": "stop", "num_tokens": 4 * (1 + 2 * i)} for i, text in enumerate(texts)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scoring = [vernier, "score", "c.toml", "--rollouts", "rows.jsonl", "--out", "-"]
    done = subprocess.run(scoring, cwd=folder, capture_output=True, text=True, timeout=120)
    if "limits.network = false cannot be had" in done.stderr:  # as within many containers
        print("network = false is refused by this machine, and was not tried", file=sys.stderr)
        (folder / "c.toml").write_text('[model]\npath = "none"\n' + toml.replace(", network = false", ""))
    out = run(scoring, folder)
    name = re.search(r'^name = "(.*)"', toml, re.M) or re.search(r'^type = "(.*)"', toml, re.M)
    name = name.group(1)
    return name, [json.loads(line)["rewards"].get(name) for line in out.strip().split("\n")]


def check_snippet(kind, name, code, place):
    """Writes, compiles or runs one; gives what has to be ended later."""
    folder, build, port = place
    if kind == "cpp":
        compiled_in_tree(code, build)
    elif kind in ("python", "c"):
        if name is None:
            fail(f"a snippet without a name: {code[:60]}")
        (folder / name).write_text(code.replace("5000", str(port)))
        if name == "server.py":
            server = subprocess.Popen([sys.executable, folder / name], cwd=folder)
            wait_for(port)
            return server
    elif kind == "sh":
        out = run(["sh", "-c", code], folder, env={**os.environ, "VERNIER": str(ROOT)})
        if "few_words.py" in code:
            check_answer({"id": "1", "responses": [0]}, json.loads(out))
    return None


def check_json(snippets):
    question, answer = (json.loads(code) for code in snippets)
    check_answer(question, answer)
    wanted = {"v", "id", "prompt", "row", "responses"}
    if set(question) != wanted:
        fail(f"a question has {sorted(question)}, not {sorted(wanted)}")


def main(build):
    build = pathlib.Path(build).resolve()
    vernier = build / "vernier"
    text = PAGE.read_text()
    # A name in backquotes before a block is that of its file.
    blocks = re.findall(r"(?:`([\w.]+)`[^\n`]*:\n\n)?```(\w+)\n(.*?)```", text, re.S)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vernier-docs-"))
    (folder / "tools").symlink_to(ROOT / "tools")
    port, servers, scored = free_port(), [], 0
    try:
        for name, kind, code in blocks:
            servers.append(check_snippet(kind, name or None, code, (folder, build, port)))
            if kind != "toml" or not vernier.exists():
                continue
            toml = code.replace("5000", str(port))
            if "openrlhf" in toml:  # nobody listens there: it has to be a configuration that is read
                toml += "retries = 0\n"
                found = score(vernier, folder, toml)
                if found[1] != [None, None]:
                    fail(f"{found} of a server that is not there")
                continue
            found, rewards = score(vernier, folder, toml)
            if rewards != SCORES[found]:
                fail(f"{found} gives {rewards}, not {SCORES[found]}:\n{code}")
            scored += 1
        check_json([code for _, kind, code in blocks if kind == "json"])
        question = {"v": 1, "id": "a", "responses": [{"text": "42"}]}
        check_answer(question, ask_server(port, json.dumps(question)))
        for example in ("few_words.py",):
            if (ROOT / "rewards/examples" / example).read_text() != (folder / example).read_text():
                fail(f"{example} is not rewards/examples/{example}")
        cpp = ROOT / "rewards/examples/shortest.cpp"
        run(["c++", "-shared", "-fPIC", "-O2", "-I", ROOT, "-o", folder / "shortest.so", cpp], folder)
    finally:
        for server in filter(None, servers):
            server.kill()
            server.wait()
        shutil.rmtree(folder)
    print(f"{len(blocks)} snippets, {scored} of them scored" + ("" if vernier.exists() else "; no vernier to score by"))


if __name__ == "__main__":
    main(*sys.argv[1:])
