"""Checks that the worked examples of docs/extending.md compile: python3 tests/compile_docs.py COMPILE_COMMANDS.

Each C++ block is compiled with the flags of a file beside which it would stand.
"""

import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
NEIGHBOURS = {"rewards/length_budget.cpp": "rewards/accuracy.cpp", "algos/reinforce.cpp": "algos/grpo.cpp"}


def main(database):
    commands = {entry["file"]: entry for entry in json.loads(pathlib.Path(database).read_text())}
    text = (ROOT / "docs/extending.md").read_text()
    for name, neighbour in NEIGHBOURS.items():
        code = re.search(rf"`{re.escape(name)}`.*?```cpp\n(.*?)```", text, re.S).group(1)
        entry = commands[str(ROOT / neighbour)]
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder) / "example.cpp"
            source.write_text(code)
            arguments = shlex.split(entry["command"])
            arguments[arguments.index("-c") + 1] = str(source)
            arguments[arguments.index("-o") + 1] = str(pathlib.Path(folder) / "example.o")
            done = subprocess.run(arguments, cwd=entry["directory"], capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(f"docs/extending.md: {name} does not compile:\n{done.stderr}")
            print(f"{name}: compiles")


if __name__ == "__main__":
    main(*sys.argv[1:])
