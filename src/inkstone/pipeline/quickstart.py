"""The main job: from the standard library of this Python to a small model that writes, in under five minutes."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inkstone.core.errors import InputError
from inkstone.core.files import read_json, write_json
from inkstone.core.progress import duration, progress, size
from inkstone.pipeline.recipe import find_recipe, load_recipe
from inkstone.pipeline.runner import StepResult, print_results, run_recipe
from inkstone.pipeline.show import console, number, print_heading, print_json, print_table

PROMPTS = (
    ("code", "import os\nimport sys\n\ndef main("),
    ("code", "class TestCase(object):\n    def __init__(self, "),
    ("code", "    try:\n        with open(path) as f:\n"),
    ("docs", "Return a list of all the "),
    ("docs", "This module provides a "),
)
SAMPLING: dict[str, Any] = {
    "max_new_tokens": 64,
    "temperature": 0.7,
    "top_p": 0.95,
    "repetition_penalty": 1.05,
    "seed": 1,
}
SAMPLES_FILE = "samples.json"
SHOWN_LINES = 8


def command(
    *, set_: Sequence[str] = (), runs: Path = Path("runs"), recipe: str = "quickstart", json: bool = False
) -> None:
    """Train a small model on this Python's standard library and let it write.

    Args:
        set_: Change a setting: stage.key=value, the value in YAML; may be repeated.
        runs: Folder of all runs; this one goes to RUNS/quickstart.
        recipe: Another recipe with the stages prepare, pretrain and evaluate.
        json: Print the results as JSON.
    """
    parsed = load_recipe(find_recipe(recipe), set_)
    folder = runs / parsed.name
    results = run_recipe(parsed, folder)
    by_stage = {step.name: step for step in results}
    samples = write_samples(by_stage["pretrain"], folder)
    if json:
        stages = [step.to_json() for step in results]
        print_json(
            {"folder": str(folder), "stages": stages, "samples": samples, "loss_curve": str(loss_curve(by_stage))}
        )
        return
    print_results(str(folder), results, _result_text)
    print_table("Quickstart", ("", ""), headline(by_stage), right=())
    _print_samples(samples)
    print(f"\nLoss curve: {loss_curve(by_stage)}")
    _print_next(by_stage["pretrain"].out)


def write_samples(pretrain: StepResult, folder: Path) -> list[dict[str, str]]:
    """Let the model complete `PROMPTS`; kept beside the run, and written again only for another model."""
    path = folder / SAMPLES_FILE
    key = {"model": pretrain.result.digest, "prompts": [list(prompt) for prompt in PROMPTS], "sampling": SAMPLING}
    try:
        kept = read_json(path)
        if kept["key"] == key:
            samples: list[dict[str, str]] = kept["samples"]
            return samples
    except (InputError, KeyError, TypeError):
        pass
    from inkstone.checkpoint import load_decoder
    from inkstone.tasks.generate import complete

    print_heading("samples", "The model writes.")
    samples = []
    with progress("samples", total=len(PROMPTS), unit="sample") as bar:
        model, tokenizer = load_decoder(pretrain.out)
        for kind, prompt in PROMPTS:
            completion = complete(model, tokenizer, prompt, **SAMPLING)
            samples.append({"kind": kind, "prompt": prompt, "completion": completion})
            bar.update()
    write_json(path, {"key": key, "samples": samples})
    return samples


def headline(steps: Mapping[str, StepResult]) -> list[list[str]]:
    """The rows of the closing table: name and value."""
    data, training = steps["prepare"].result.summary, steps["pretrain"].result.summary
    scores = steps["evaluate"].result.summary
    kept = data["kept"] if "kept" in data else data["documents"]
    seconds = sum(step.result.seconds for step in steps.values())
    return [
        ["data kept", f"{number(kept)} of {number(kept + data['dropped'])} documents, {size(data['bytes'])}"],
        ["tokens", f"{number(training['tokens'])} trained on, in {number(training['steps'])} steps"],
        ["parameters", number(training["parameters"])],
        ["time", f"{seconds / 60:.1f} minutes, of which training {duration(training['seconds'])}"],
        ["speed", f"{number(training['tokens_per_second'])} tokens/s"],
        ["bits per byte", _bits_per_byte(scores)],
        ["  xz", f"{scores['xz_bits_per_byte']:.3f}"],
        ["  n-gram", f"{scores['ngram_bits_per_byte']:.3f}"],
    ]


def _bits_per_byte(scores: Mapping[str, Any]) -> str:
    value, low, high = (scores[f"bits_per_byte{end}"] for end in ("", "_low", "_high"))
    baselines = min(scores["xz_bits_per_byte"], scores["ngram_bits_per_byte"])
    verdict = "better than both below" if value < baselines else "not better than both below"
    return f"{value:.3f} (95% interval {low:.3f} to {high:.3f}), {verdict}"


def loss_curve(steps: Mapping[str, StepResult]) -> Path:
    """Where the picture of the loss lies."""
    pretrain = steps["pretrain"]
    return pretrain.out / str(pretrain.result.summary.get("loss_curve", "loss.png"))


def _result_text(step: StepResult) -> str:
    """One line per stage; the closing table has the rest."""
    return str(step.out)


def _print_samples(samples: Sequence[Mapping[str, str]]) -> None:
    for sample in samples:
        lines = (sample["prompt"] + sample["completion"]).rstrip().splitlines()[:SHOWN_LINES]
        if sys.stdout.isatty():
            _print_panel(sample["kind"], sample["prompt"], "\n".join(lines))
        else:
            print(f"\n[{sample['kind']}]")
            print("\n".join(f"  {line}" for line in lines))


def _print_panel(kind: str, prompt: str, text: str) -> None:
    from rich import box
    from rich.panel import Panel
    from rich.text import Text

    body = Text(text)
    body.stylize("bold", 0, len(prompt))
    title = {"code": "Python code", "docs": "English docs"}.get(kind, kind)
    console().print(Panel(body, title=title, title_align="left", box=box.ROUNDED, border_style="dim", width=100))


def _print_next(model: Path) -> None:
    print("\nNext, try:")
    for line in (
        f'inkstone generate {model} "def read("',
        f"inkstone lineage {model}",
        "inkstone plan books --set 'collect.paths=[FOLDER-OF-YOUR-TEXT]'",
    ):
        print(f"  {line}")
