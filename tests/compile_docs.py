"""Checks that the worked examples of docs/extending.md compile: python3 tests/compile_docs.py COMPILE_COMMANDS.

Each C++ block is compiled with the flags of a file beside which it would stand; the family of models goes into
the table of families.
"""

import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
NEIGHBOURS = {"rewards/length_discount.cpp": "rewards/accuracy.cpp", "algos/reinforce.cpp": "algos/drpo.cpp"}


def family_with_example(text):
    """core/model/family.cpp with the example's functions and row where the page says they go."""
    section = text[text.index("## A family of models"):]
    functions, row = re.findall(r"```cpp\n(.*?)```", section, re.S)
    code = (ROOT / "core/model/family.cpp").read_text()
    for anchor, insert in (("\n}  // namespace\n", "\n" + functions), ("\n  };\n  return all;", "\n" + row.rstrip())):
        if code.count(anchor) != 1:
            sys.exit(f"tests/compile_docs.py: core/model/family.cpp has {code.count(anchor)} places {anchor!r}")
        code = code.replace(anchor, insert + anchor)
    return code


def compile_example(name, code, entry):
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


def main(database):
    commands = {entry["file"]: entry for entry in json.loads(pathlib.Path(database).read_text())}
    text = (ROOT / "docs/extending.md").read_text()
    for name, neighbour in NEIGHBOURS.items():
        code = re.search(rf"`{re.escape(name)}`.*?```cpp\n(.*?)```", text, re.S).group(1)
        compile_example(name, code, commands[str(ROOT / neighbour)])
    family = str(ROOT / "core/model/family.cpp")
    compile_example("a family of models", family_with_example(text), commands[family])


if __name__ == "__main__":
    main(*sys.argv[1:])
