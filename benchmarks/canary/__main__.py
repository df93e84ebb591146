"""Both notebooks on package versions that others have: python -m benchmarks.canary [--sets colab newest]

`colab` is what a Colab runtime has (colab.txt), on Python 3.13; `newest` is the newest release of everything. Each set
gets an environment of its own in a folder that also holds a fresh clone, as on Colab, and from that folder runs the
feature and the training notebook in a quick form, LoRA, and an M4A. The notebooks install what is missing themselves;
torch, transformers and datasets must not change by that. Results go to results/canary.json and from there to
docs/canary.md.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "benchmarks" / "results" / "canary.json"
COLAB = Path(__file__).with_name("colab.txt")
KEPT = ("torch", "transformers", "datasets")  # a notebook that replaced one of these would cost Colab's users a restart
SHOWN = (*KEPT, "huggingface_hub", "accelerate", "peft", "torchao", "numpy", "av", "onnxruntime", "ctranslate2")
NEWEST = ("transformers", "datasets", "accelerate", "peft", "nbclient", "ipykernel", "torchao")
QUICK = {"max_steps": 4, "evaluate_every_steps": 2, "save_every_steps": 2, "log_every_steps": 1, "warmup_steps": 1}
STEPS = ("feature notebook", "training notebook", "LoRA", "M4A")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=("colab", "newest"), default=["colab", "newest"])
    parser.add_argument("--python", default="python3.13", help="interpreter of the environments (default: python3.13)")
    parser.add_argument("--torch", default="torch", help="what to install as torch for newest, such as torch==2.13.0")
    parser.add_argument("--keep", type=Path, help="work here and keep it (default: a temporary folder)")
    arguments = parser.parse_args()
    found = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    with tempfile.TemporaryDirectory(prefix="canary-") as temporary:
        for name in arguments.sets:
            folder = (arguments.keep or Path(temporary)) / name
            found[name] = run_set(name, folder, python=arguments.python, torch=arguments.torch)
            RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int(any(step["result"] != "pass" for name in arguments.sets for step in found[name]["steps"].values()))


def run_set(name: str, folder: Path, *, python: str, torch: str) -> dict:
    """Build the environment and the clone in `folder`, and run every step: versions, and what came of each step."""
    own = make_environment(name, folder, python=python, torch=torch)
    shutil.rmtree(folder / "cantowhisper", ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "cantowhisper")], check=True)
    small_release(folder / "cantowhisper" / "samples" / "corpus", folder / "release")
    before = versions(own, KEPT)
    quick = ["--preset", "demo"]
    quick += [word for key, value in {**QUICK, "lora_rank": 4}.items() for word in ("--set", f"{key}={value}")]
    command = ["-m", "cantowhisper.cli"]
    clip = "cantowhisper/samples/clips/voice_memo.m4a"
    steps = {
        STEPS[0]: notebook_step(own, folder, "whisper_feature_pipeline"),
        STEPS[1]: notebook_step(own, folder, "whisper_training_pipeline"),
        STEPS[2]: step([own, *command, "train", "demo/features", "lora", *quick], folder),
        STEPS[3]: step([own, *command, "transcribe", clip, "--model", "demo/model"], folder),
    }
    after = versions(own, SHOWN)
    changed = [f"{key} {before[key]} → {after[key]}" for key in KEPT if before[key] != after[key]]
    if changed:
        steps[STEPS[0]] = {**steps[STEPS[0]], "result": f"replaced {', '.join(changed)}"}
    python_version = subprocess.run([own, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    return {"date": describe()["date"], "python": python_version, "versions": after, "steps": steps}


def make_environment(name: str, folder: Path, *, python: str, torch: str) -> str:
    """An environment with what is there before a notebook's first cell; returns its interpreter."""
    own = folder / "environment" / "bin" / "python"
    if not own.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([python, "-m", "venv", str(folder / "environment")], check=True)
    install = [str(own), "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, "--upgrade", "pip"], check=True)
    wanted = ["--requirement", str(COLAB)] if name == "colab" else [torch, *NEWEST]
    subprocess.run([*install, *wanted], check=True)
    return str(own)


def small_release(corpus: Path, release: Path) -> None:
    """40 + 8 + 8 clips of the samples, in the layout of a release."""
    (release / "clips").mkdir(parents=True, exist_ok=True)
    for table, n in (("train", 40), ("dev", 8), ("test", 8)):
        lines = (corpus / f"{table}.tsv").read_text(encoding="utf-8").splitlines()[: n + 1]
        (release / f"{table}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        column = lines[0].split("\t").index("path")
        for line in lines[1:]:
            shutil.copy(corpus / "clips" / line.split("\t")[column], release / "clips")


def notebook_step(python: str, folder: Path, name: str) -> dict:
    settings = {"SOURCE": "release", "OUT": "demo", "CHANGES": json.dumps(QUICK)}
    words = [f"CANTOWHISPER_{key}={value}" for key, value in settings.items()]
    runner = str(Path(__file__).with_name("notebook.py"))
    return step(["env", *words, python, runner, f"cantowhisper/{name}.ipynb"], folder)


def step(command: list[str], folder: Path) -> dict:
    """Run a command in `folder`: "pass", or the last line of what it said, and its seconds."""
    started = time.monotonic()
    alone = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH"
    }  # which may name this repository
    done = subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True)
    with (folder / "log.txt").open("a", encoding="utf-8") as log:
        log.write(f"== {command}\n{done.stdout}\n{done.stderr}\n")
    said = [line for line in re.sub(r"\x1b\[\d*m", "", done.stderr).splitlines() if line.strip()]
    result = "pass" if done.returncode == 0 else (said[-1] if said else f"exit code {done.returncode}")
    print(f"{command[-1]}: {result}", file=sys.stderr, flush=True)
    return {"result": result, "seconds": round(time.monotonic() - started)}


def versions(python: str, names: tuple[str, ...]) -> dict[str, str]:
    """The versions of packages in an environment; "" for one that is not there."""
    code = (
        "import json, sys; from importlib.metadata import PackageNotFoundError, version\n"
        "def of(name):\n    try: return version(name)\n    except PackageNotFoundError: return ''\n"
        "print(json.dumps({name: of(name) for name in sys.argv[1:]}))"
    )
    return json.loads(subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    sys.exit(main())
