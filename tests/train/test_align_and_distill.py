"""The stages `align` and `distill`, from files to a folder, whole and interrupted."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from inkstone.checkpoint import load_checkpoint, read_safetensors, save_checkpoint
from inkstone.checkpoint.adapters import load_adapter
from inkstone.core.errors import InputError
from inkstone.core.stage import StageResult, execute
from inkstone.nn.heads import HeadedModel
from inkstone.tasks.classify import classify
from inkstone.train import metrics
from inkstone.train.config_align import AlignConfig
from inkstone.train.config_distill import DistillConfig
from inkstone.train.config_teach import TeachConfig
from inkstone.train.loop import Loop
from inkstone.train.metrics import read_metrics
from inkstone.train.objectives.preference_config import PreferenceConfig
from inkstone.train.stages import align, distill
from tests.tiny_models import randomized, tiny_model
from tests.train.objectives.lessons import chat_tokenizer
from tests.train.objectives.test_distill import CLASSES, HEADS, narrow_encoder, of_head

TINY: dict[str, Any] = {
    "device": "cpu",
    "dtype": "float32",
    "compile": False,
    "fused": False,
    "steps": 6,
    "batch_size": 4,
    "learning_rate": 3e-3,
    "checkpoint_every": 2,
    "eval_every": 3,
    "log_every": 1,
    "schedule": {"name": "constant", "warmup": 0.0},
}
_QUESTIONS = ("What is black?", "磨墨先做什么?", "Who writes?", "筆走什么?", "What is wet?", "几色?")


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def preferences(folder: Path) -> Path:
    """In English and Chinese: the brush is better than the stone."""
    rows = [
        {
            "prompt": [{"role": "user", "content": f"{number} {question}"}],
            "chosen": [{"role": "assistant", "content": "the brush 筆"}],
            "rejected": [{"role": "assistant", "content": "the stone 磨"}],
        }
        for number in range(3)
        for question in _QUESTIONS
    ]
    _write(folder / "valid.jsonl", rows[:4])
    _write(folder / "train.jsonl", rows[4:])
    return folder


@pytest.fixture(autouse=True)
def without_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of the time of a tiny run."""
    monkeypatch.setattr(metrics, "plot_losses", lambda *_: None)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    model = tiny_model(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    save_checkpoint(tmp_path / "model", model, chat_tokenizer())
    return tmp_path / "model"


def aligned(model: Path, tmp_path: Path, out: str = "out", **changes: Any) -> StageResult:
    config = AlignConfig(**TINY | changes)
    return execute(align, config, {"model": model, "data": preferences(tmp_path / "data")}, tmp_path / out)


@pytest.mark.parametrize("method", ["dpo", "ipo", "orpo", "kto"])
def test_each_method_learns_what_is_preferred(model_folder: Path, tmp_path: Path, method: str) -> None:
    aligned(model_folder, tmp_path, method=method, steps=12)
    rows = read_metrics(tmp_path / "out")
    validated = [row for row in rows if "valid_accuracy" in row]
    assert validated[-1]["valid_accuracy"] > 0.8
    assert validated[-1]["valid_reward_margin"] > 0.01
    trained, _ = load_checkpoint(tmp_path / "out")
    start, _ = load_checkpoint(model_folder)
    changed = [
        not torch.equal(mine, other) for mine, other in zip(trained.parameters(), start.parameters(), strict=True)
    ]
    assert all(changed)
    assert (tmp_path / "out" / "reference" / "train.safetensors").is_file() == (method != "orpo")


def test_an_adapter_is_taught_instead_of_the_model(model_folder: Path, tmp_path: Path) -> None:
    aligned(model_folder, tmp_path, lora={"r": 4})
    first = next(row for row in read_metrics(tmp_path / "out") if "loss" in row)
    assert first["loss"] == pytest.approx(0.6931, abs=1e-3)
    model, _ = load_checkpoint(model_folder)
    adapter = load_adapter(tmp_path / "out", model)
    assert any(parameter.abs().sum() > 0 for name, parameter in adapter.parameters().items() if "lora_B" in name)


def distilled(student: Path, teacher: Path, data: Path, out: Path, **changes: Any) -> StageResult:
    config = DistillConfig(**TINY | changes)
    return execute(distill, config, {"model": student, "teacher": teacher, "data": data}, out)


def chats(folder: Path) -> Path:
    rows = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in zip(
            _QUESTIONS, ("The ink.", "先注水", "the brush", "龍蛇", "The stone.", "五"), strict=True
        )
    ]
    _write(folder / "chats" / "valid.jsonl", rows)
    _write(folder / "chats" / "train.jsonl", rows)
    return folder / "chats"


@pytest.mark.parametrize(
    "changes",
    [{}, {"top_k": 64, "lora": {"r": 8}}, {"on_policy": 0.5, "max_new_tokens": 8, "divergence": "jensen_shannon"}],
    ids=["online", "cached, adapter", "on policy"],
)
def test_a_student_comes_nearer_to_its_teacher(model_folder: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    save_checkpoint(tmp_path / "student", tiny_model(4), chat_tokenizer())
    changes = {"steps": 12, "learning_rate": 2e-2, "hard_weight": 0.1, **changes}
    distilled(tmp_path / "student", model_folder, chats(tmp_path), tmp_path / "out", **changes)
    validated = [row["valid_divergence"] for row in read_metrics(tmp_path / "out") if "valid_divergence" in row]
    assert 0 < validated[-1] < 0.8 * validated[0]


def test_answers_of_the_student_resume_bit_for_bit(
    monkeypatch: pytest.MonkeyPatch, model_folder: Path, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "student", tiny_model(4), chat_tokenizer())

    def run(out: str) -> dict[str, torch.Tensor]:
        changes = {"on_policy": 0.7, "max_new_tokens": 6, "keep": "last"}
        distilled(tmp_path / "student", model_folder, chats(tmp_path), tmp_path / out, **changes)
        return read_safetensors(tmp_path / out / "model.safetensors")

    whole, step = run("whole"), Loop.step
    monkeypatch.setattr(Loop, "step", _until(5, step))
    with pytest.raises(KeyboardInterrupt):
        run("broken")
    monkeypatch.setattr(Loop, "step", step)
    for name, values in run("broken").items():
        assert torch.equal(values, whole[name]), name


def _until(last: int, step: Any) -> Any:
    """`step`, until the process is gone."""

    def interrupted(loop: Loop[Any], log: Any) -> Any:
        if loop.state.step == last:
            raise KeyboardInterrupt
        return step(loop, log)

    return interrupted


def test_a_classifier_is_distilled_into_a_smaller_model(tmp_path: Path) -> None:
    """A student without a head is given the teacher's, and says what the teacher says."""
    lesson, _ = of_head(tmp_path, "classes")
    save_checkpoint(tmp_path / "student", randomized(narrow_encoder(lesson.tokenizer), 7), lesson.tokenizer)
    rows = [{"text": each.text, "label": each.label} for each in CLASSES]
    for split in ("train", "valid"):
        _write(tmp_path / "data" / f"{split}.jsonl", rows)
    changes = {"steps": 40, "learning_rate": 1e-2, "hard_weight": 0.0, "eval_every": 40}
    distilled(tmp_path / "student", tmp_path / "given", tmp_path / "data", tmp_path / "run", **changes)
    rows = read_metrics(tmp_path / "run")
    untaught, taught = rows[0]["divergence"], rows[-1]["valid_divergence"]
    assert taught < 0.1 * untaught
    said, meant = (_probabilities(folder) for folder in (tmp_path / "run", tmp_path / "given"))
    assert float((meant * (meant / said).log()).sum(-1).mean()) == pytest.approx(taught, rel=1e-3)


def _probabilities(folder: Path) -> torch.Tensor:
    """(texts, classes)."""
    model, tokenizer = load_checkpoint(folder)
    assert isinstance(model, HeadedModel)
    assert model.head_config.labels == HEADS["classes"][1].labels
    texts = [each.text for each in CLASSES]
    return torch.tensor([list(each.probabilities.values()) for each in classify(model, tokenizer, texts)])


def test_a_teacher_with_another_vocabulary_is_refused(model_folder: Path, tmp_path: Path) -> None:
    of_head(tmp_path, "classes")
    with pytest.raises(InputError, match="teacher: student and teacher have different vocabularies"):
        distilled(model_folder, tmp_path / "given", chats(tmp_path), tmp_path / "run")


def test_the_guides_list_every_setting(root: Path) -> None:
    own = [name for name in DistillConfig.model_fields if name not in TeachConfig.model_fields]
    for guide, settings in (("align", list(PreferenceConfig.model_fields)), ("distill", own)):
        text = (root / f"docs/guides/{guide}.md").read_text("utf-8")
        table = text.partition("| setting |")[2].partition("\n\n")[0]
        rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*)", table, re.MULTILINE)
        assert [name for row in rows for name in re.findall(r"\w+", row)] == settings
