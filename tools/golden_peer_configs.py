"""The keys of TRL's and verl's configurations with their defaults, for tests/peer_config_test.cpp.

    pip download --no-deps -d WHEELS trl==1.16.0 transformers==5.24.0 verl==0.9.1
    python3 tools/golden_peer_configs.py WHEELS

Reads the sources in the wheels, runs none of them. Writes tests/cases/peers/trl.json, with the fields of GRPOConfig,
TrainingArguments, ModelConfig and ScriptArguments, and verl.yaml, the configuration that verl generates. Needs PyYAML.
"""

import ast
import json
import pathlib
import sys
import zipfile

import yaml

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/cases/peers"


def wheel(folder, name):
    found = sorted(pathlib.Path(folder).glob(f"{name}-*.whl"))
    if not found:
        sys.exit(f"{folder}: no wheel of {name}")
    return zipfile.ZipFile(found[-1]), found[-1].name.split("-")[1]


def fields(archive, path, name):
    """Annotated fields of a class."""
    tree = ast.parse(archive.read(path))
    body = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name).body
    return [node.target.id for node in body if isinstance(node, ast.AnnAssign) and not node.target.id.startswith("_")]


def main():
    folder = sys.argv[1]
    trl, trl_version = wheel(folder, "trl")
    transformers, transformers_version = wheel(folder, "transformers")
    verl, verl_version = wheel(folder, "verl")
    keys = set(fields(trl, "trl/trainer/grpo_config.py", "GRPOConfig"))
    keys |= set(fields(trl, "trl/trainer/model_config.py", "ModelConfig"))
    keys |= set(fields(trl, "trl/scripts/utils.py", "ScriptArguments"))
    keys |= set(fields(trl, "trl/scripts/grpo.py", "GRPOScriptArguments"))
    keys |= set(fields(transformers, "transformers/training_args.py", "TrainingArguments"))
    OUT.mkdir(parents=True, exist_ok=True)
    out = {"versions": {"trl": trl_version, "transformers": transformers_version}, "keys": sorted(keys)}
    (OUT / "trl.json").write_text(json.dumps(out, indent=1) + "\n")
    tree = yaml.safe_load(verl.read("verl/trainer/config/_generated_ppo_trainer.yaml"))
    head = f"# verl {verl_version}: verl/trainer/config/_generated_ppo_trainer.yaml, as YAML loads it.\n"
    (OUT / "verl.yaml").write_text(head + yaml.safe_dump(tree, sort_keys=True))


if __name__ == "__main__":
    main()
