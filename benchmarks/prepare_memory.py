"""Memory of `collect`, `prepare` and `tokenizer` on a corpus and on ten times as much.

    python benchmarks/prepare_memory.py [--mb 40]

Each stage runs in a fresh process, whose peak resident memory is reported by the operating system. The text is real
(the standard library of this Python), cut into paragraphs and dealt into documents of about 20 kB, all different.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from inkstone.data.readers.base import Reading, ReadOptions, Source
from inkstone.data.readers.python_stdlib import PythonReader

STAGES = {
    "collect": ("inkstone.data.stages", "collect", "CollectConfig", None),
    "prepare": ("inkstone.data.stages", "prepare", "PrepareConfig", "documents"),
    "tokenizer": ("inkstone.data.tokenizer_stage", "tokenizer", "TokenizerConfig", "corpus"),
}
DOCUMENT_CHARS = 20_000


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mb", type=int, default=40, help="size of the smaller corpus")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        small = measure(Path(folder) / "small", arguments.mb)
        large = measure(Path(folder) / "large", arguments.mb * 10)
    sizes = f"{arguments.mb} MB | at {arguments.mb * 10} MB"
    print(f"| stage | peak memory at {sizes} | growth | MB/s at {arguments.mb * 10} MB |")
    print("|---|---|---|---|---|")
    for name, (memory, _) in small.items():
        grown, seconds = large[name]
        rate = arguments.mb * 10 / seconds
        print(f"| {name} | {memory:.0f} MB | {grown:.0f} MB | {grown / memory:.2f} × | {rate:.1f} |")


def measure(folder: Path, mb: int) -> dict[str, tuple[float, float]]:
    """Peak memory in MB and seconds of each stage on `mb` megabytes of text."""
    folder.mkdir()
    write_texts(folder / "texts.jsonl", mb * 1_000_000)
    settings = {"collect": {"paths": [str(folder / "texts.jsonl")]}, "prepare": {"workers": 1}, "tokenizer": {}}
    measured = {}
    previous = None
    for name in STAGES:
        out = folder / name
        started = time.monotonic()
        arguments = [sys.executable, __file__, name, json.dumps(settings[name]), str(previous), str(out)]
        result = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True)
        measured[name] = float(result.stdout.split()[-1]), time.monotonic() - started
        previous = out
    return measured


def write_texts(path: Path, num_bytes: int) -> None:
    """Write about `num_bytes` of text as JSONL documents, no two of them alike."""
    documents = PythonReader().read(Source(None, "python:stdlib", "", "python"), Reading(ReadOptions()))
    paragraphs = [paragraph for document in documents for paragraph in document.text.split("\n\n")]
    deal = random.Random(1)
    written = 0
    with path.open("w", encoding="utf-8") as file:
        while written < num_bytes:
            text = ""
            while len(text) < DOCUMENT_CHARS:
                text += deal.choice(paragraphs) + "\n\n"
            written += file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


def run_stage(name: str, settings: str, previous: str, out: str) -> None:
    """Run one stage in this process and print its peak resident memory in MB."""
    from importlib import import_module

    from inkstone.core.config import parse_config
    from inkstone.core.stage import execute

    module, stage, config, source = STAGES[name]
    room = import_module(module)
    inputs = {} if source is None else {source: previous}
    execute(getattr(room, stage), parse_config(getattr(room, config), json.loads(settings), where=name), inputs, out)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak / (1e6 if sys.platform == "darwin" else 1e3))


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in STAGES:
        run_stage(*sys.argv[1:])
    else:
        main()
