"""The stage on tiny models of every task: what it writes is what metrics and tasks give when asked one by one."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from inkstone.checkpoint import load_checkpoint, save_checkpoint
from inkstone.checkpoint.heads import with_head
from inkstone.core.errors import CheckpointError, ConfigError, InputError
from inkstone.core.stage import execute
from inkstone.data.examples.config import ExamplesConfig
from inkstone.data.examples.encoded import TokenSequence
from inkstone.evaluate.benchmark import benchmark
from inkstone.evaluate.benchmark_config import BenchmarkConfig
from inkstone.evaluate.benchmark_tasks.classify import Classify
from inkstone.evaluate.benchmark_tasks.prefer import _fitting
from inkstone.nn.heads import HeadConfig
from inkstone.nn.models.base import Model
from inkstone.tasks.classify import classify
from inkstone.tasks.translate import translate
from inkstone.tokenizer import Tokenizer
from inkstone.tokenizer.chat import CHATML
from tests.tiny_models import randomized, tiny_model, tiny_tokenizer

pytest.importorskip("sklearn")
pytest.importorskip("sacrebleu")

WHOLE = ExamplesConfig(valid_fraction=0)
"""What is for training is all for training."""
CPU: dict[str, Any] = {"device": "cpu", "dtype": "float32", "num_bootstrap": 100, "examples": WHOLE}
TEXTS = ["The ink is black.", "墨分五色。", "a brush", "很好，很好", "wet stone", "筆走龍蛇", "the ink is wet", "磨墨"]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path.parent


def save(folder: Path, model: Model, tokenizer: Tokenizer) -> Path:
    folder.mkdir()
    save_checkpoint(folder, model, tokenizer)
    return folder


def run(config: Mapping[str, Any], out: Path, **inputs: Path) -> tuple[dict[str, Any], Any, str, list[Any]]:
    out.mkdir()
    summary = benchmark.run(BenchmarkConfig(**CPU, **config), inputs, out)
    report = json.loads((out / "benchmark.json").read_text("utf-8"))
    page = (out / "benchmark.md").read_text("utf-8")
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text("utf-8").splitlines()]
    return summary, report, page, rows


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHATML
    return tokenizer


def headed(tokenizer: Tokenizer, seed: int = 0, **head: Any) -> Model:
    return randomized(with_head(tiny_model(seed, vocab_size=tokenizer.vocab_size), HeadConfig(**head)), seed).eval()


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    return save(tmp_path_factory.mktemp("decoder") / "after", tiny_model(0, vocab_size=tokenizer.vocab_size), tokenizer)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    return save(tmp_path_factory.mktemp("before") / "before", tiny_model(1, vocab_size=tokenizer.vocab_size), tokenizer)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    model = headed(tokenizer, kind="sequence", labels=("bad", "good"))
    return save(tmp_path_factory.mktemp("classifier") / "model", model, tokenizer)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes") / "data"
    rows = [{"text": text, "label": "good" if number % 3 else "bad"} for number, text in enumerate(TEXTS)]
    write_rows(folder / "train.jsonl", rows)
    write_rows(folder / "valid.jsonl", rows[:2])
    return write_rows(folder / "test.jsonl", [{**row, "text": f"{row['text']} ok"} for row in rows])


def test_classes(classifier: Path, classes: Path, tmp_path: Path) -> None:
    summary, report, page, rows = run({}, tmp_path / "out", model=classifier, data=classes)
    model, tokenizer = load_checkpoint(classifier, "cpu", "float32")
    found = [each.label for each in classify(model, tokenizer, [f"{text} ok" for text in TEXTS])]
    wanted = ["good" if number % 3 else "bad" for number in range(len(TEXTS))]
    accuracy = sum(map(str.__eq__, found, wanted)) / len(TEXTS)  # type: ignore[arg-type]
    assert summary["accuracy"] == report["metrics"]["accuracy"]["value"] == pytest.approx(accuracy)
    assert summary["accuracy_low"] <= summary["accuracy"] <= summary["accuracy_high"]
    assert [row["prediction"] for row in rows] == found
    assert [row["scores"]["accuracy"] for row in rows] == [float(a == b) for a, b in zip(found, wanted, strict=True)]
    assert rows[1]["input"] == "墨分五色。 ok"
    assert rows[1]["where"].endswith("test.jsonl:2")
    assert sum(map(sum, report["confusion"]["counts"])) == len(TEXTS)
    assert set(report["baselines"]) == {"majority", "tfidf"}
    assert report["baselines"]["majority"]["metrics"]["accuracy"]["value"] == 5 / 8
    assert report["facts"] | {"split": "test", "train_examples": 8, "task": "classify"} == report["facts"]
    assert set(report["metrics"]["macro_f1"]["by_label"]) <= {"bad", "good"}
    best = report["baselines"][summary["best_baseline"]]
    assert all(
        best["metrics"]["accuracy"]["value"] >= each["metrics"]["accuracy"]["value"]
        for each in report["baselines"].values()
    )
    gap = best["differences"]["accuracy"]
    assert gap["value"] == pytest.approx(accuracy - best["metrics"]["accuracy"]["value"])
    assert (report["verdict"] == "undecided") == (gap["low"] <= 0 <= gap["high"])
    assert summary["beats_baseline"] in page
    assert "TF-IDF + logistic regression" in page
    assert f"{accuracy:.4f}" in page


def test_the_same_twice_and_as_a_stage(classifier: Path, classes: Path, tmp_path: Path) -> None:
    config = BenchmarkConfig(**CPU, baselines=("majority",), metrics=("macro_f1",), limit=5, split="train")
    first = execute(benchmark, config, {"model": classifier, "data": classes}, tmp_path / "one")
    second = execute(benchmark, config, {"model": classifier, "data": classes}, tmp_path / "two")
    assert first.summary == second.summary
    assert (first.summary["examples"], first.summary["split"], first.summary["metric"]) == (5, "train", "macro_f1")
    for name in ("benchmark.json", "predictions.jsonl"):
        texts = [(tmp_path / out / name).read_text("utf-8") for out in ("one", "two")]
        if name == "benchmark.json":
            reports = [json.loads(text) for text in texts]
            for report in reports:
                del report["facts"]["seconds"]
            assert reports[0] == reports[1]
        else:
            assert texts[0] == texts[1]
    assert execute(benchmark, config, {"model": classifier, "data": classes}, tmp_path / "two").skipped


def test_all_of_one_file_has_no_baselines_that_learn(classifier: Path, classes: Path, tmp_path: Path) -> None:
    summary, report, page, _ = run({"split": "all"}, tmp_path / "out", model=classifier, data=classes / "test.jsonl")
    assert summary["examples"] == len(TEXTS)
    assert report["baselines"] == {}
    assert "best_baseline" not in summary
    assert set(report["facts"]["left_out"]) == {"majority", "tfidf"}
    assert "there are none" in page


def test_against_itself_nothing_differs(classifier: Path, classes: Path, tmp_path: Path) -> None:
    config = {"baselines": ()}
    summary, report, page, rows = run(config, tmp_path / "out", model=classifier, data=classes, compare=classifier)
    assert summary["beats_compare"] == "not beyond the luck of the sample"
    assert report["compare"]["differences"]["accuracy"] == {"value": 0, "low": 0, "high": 0, "p_value": 1}
    assert all(row["prediction"] == row["compare_prediction"] for row in rows)
    assert "(compared)" in page


def test_numbers(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = save(tmp_path / "model", headed(tokenizer, kind="sequence", labels=("stars",)), tokenizer)
    # Whole numbers in a file are read as classes.
    rows = [{"text": text, "label": number if number % 2 else number / 2} for number, text in enumerate(TEXTS)]
    data = write_rows(tmp_path / "data" / "train.jsonl", rows)
    write_rows(data / "test.jsonl", rows[2:])
    summary, report, _, lines = run({}, tmp_path / "out", model=model, data=data)
    assert summary["task"] == "regress"
    mae = sum(abs(row["prediction"] - row["reference"]) for row in lines) / len(lines)
    assert report["metrics"]["mae"]["value"] == pytest.approx(mae)
    assert report["metrics"]["mae"]["higher_is_better"] is False
    assert report["baselines"]["mean"]["metrics"]["pearson"]["value"] == 0


def test_spans(tokenizer: Tokenizer, tmp_path: Path) -> None:
    labels = ("O", "B-name", "I-name", "B-place", "I-place")
    model = save(tmp_path / "model", headed(tokenizer, kind="token", labels=labels), tokenizer)
    rows = [
        {
            "text": "王五在北京。",
            "spans": [{"start": 0, "end": 2, "label": "name"}, {"start": 3, "end": 5, "label": "place"}],
        },
        {
            "text": "Ann left Rome",
            "spans": [{"start": 0, "end": 3, "label": "name"}, {"start": 9, "end": 13, "label": "place"}],
        },
        {"text": "nobody", "spans": []},
    ]
    data = write_rows(tmp_path / "data" / "train.jsonl", rows)
    write_rows(data / "test.jsonl", rows)
    summary, report, page, lines = run({}, tmp_path / "out", model=model, data=data)
    assert summary["metric"] == "entity_f1"
    assert summary["best_baseline"] in ("dictionary", "linear_tagger")
    assert report["baselines"]["dictionary"]["metrics"]["entity_f1"]["value"] == 1
    assert {"name", "place"} <= set(report["metrics"]["entity_f1"]["by_label"])
    assert lines[0]["reference"][1] == {"start": 3, "end": 5, "label": "place"}
    found = sum(span in row["reference"] for row in lines for span in row["prediction"])
    guessed = sum(len(row["prediction"]) for row in lines)
    assert report["metrics"]["entity_f1"]["value"] == pytest.approx(2 * found / (guessed + 4))
    assert "entity_f1 of" in page


def test_questions(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = save(tmp_path / "model", headed(tokenizer, kind="span"), tokenizer)
    rows = [
        {"id": "1", "question": "墨？", "context": "墨分五色。", "answers": {"text": ["五色"], "answer_start": [2]}},
        {
            "id": "2",
            "question": "Ink?",
            "context": "It is black. So.",
            "answers": {"text": ["black"], "answer_start": [6]},
        },
    ]
    data = write_rows(tmp_path / "data" / "train.jsonl", rows)
    write_rows(data / "test.jsonl", rows)
    summary, report, _, lines = run({}, tmp_path / "out", model=model, data=data)
    assert summary["metric"] == "answer_f1"
    assert report["baselines"]["first_sentence"]["metrics"]["answer_f1"]["value"] == pytest.approx(
        (2 * 2 / 6 + 0.5) / 2
    )
    assert all(row["prediction"] in row["input"]["context"] for row in lines)


def test_pairs(decoder: Path, tmp_path: Path) -> None:
    sources = ["red ink", "a black brush", "wet stone", "the ink"]
    targets = ["这是红色的墨水。", "他有一支黑色的笔。", "石头都湿了。", "那里的墨水很多。"]
    rows = [{"source": source, "target": target} for source, target in zip(sources, targets, strict=True)]
    data = write_rows(tmp_path / "data" / "train.jsonl", rows)
    write_rows(data / "test.jsonl", rows)
    config = {"max_new_tokens": 5, "num_beams": 1}
    summary, report, page, lines = run(config, tmp_path / "out", model=decoder, data=data)
    model, tokenizer = load_checkpoint(decoder, "cpu", "float32")
    assert [row["prediction"] for row in lines] == translate(model, tokenizer, sources, max_new_tokens=5, num_beams=1)
    assert summary["metric"] == "bleu"
    assert "tok:zh" in report["metrics"]["bleu"]["signature"]
    assert report["metrics"]["bleu"]["signature"] in page
    assert report["baselines"]["nearest"]["metrics"]["exact_match"]["value"] == 1
    assert (report["verdict"], summary["beats_baseline"]) == ("worse", "no, it is worse")
    assert report["facts"]["decoding"] == {"max_new_tokens": 5, "num_beams": 1}


def test_summaries_are_judged_by_rouge(decoder: Path, tmp_path: Path) -> None:
    rows = [{"source": f"{text} It was so, and that was all of it.", "target": text} for text in TEXTS[::2]]
    data = write_rows(tmp_path / "data" / "test.jsonl", rows)
    config = {"max_new_tokens": 2, "baselines": ("copy",), "split": "all"}
    summary, report, _, _ = run(config, tmp_path / "out", model=decoder, data=data)
    assert (summary["metric"], summary["best_baseline"]) == ("rougeL", "copy")
    assert {"bleu", "chrf", "exact_match", "rouge1", "rouge2"} < set(report["metrics"])


CHATS = [
    {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
    {"messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "墨"}]},
    {"messages": [{"role": "user", "content": "ink?"}, {"role": "assistant", "content": "black"}]},
]


def test_conversations(decoder: Path, before: Path, tmp_path: Path) -> None:
    from inkstone.tasks.score import token_logprobs
    from inkstone.tokenizer.taught import encode_taught_chat

    data = write_rows(tmp_path / "data" / "test.jsonl", CHATS)
    summary, report, _, _ = run({}, tmp_path / "out", model=decoder, data=data, compare=before)
    model, tokenizer = load_checkpoint(decoder, "cpu", "float32")
    nats = num_tokens = 0.0
    for chat in CHATS:
        ((ids, learned),) = encode_taught_chat(tokenizer, chat["messages"])
        logprobs = token_logprobs(model, ids)  # type: ignore[arg-type]
        nats -= sum(value for value, counts in zip(logprobs, learned[1:], strict=True) if counts)
        num_tokens += sum(learned[1:])
    assert summary["metric"] == "loss"
    assert summary["loss"] == pytest.approx(nats / num_tokens, abs=1e-4)
    assert report["compare"]["metrics"]["loss"]["value"] == pytest.approx(summary["compare_loss"])
    gap = report["compare"]["differences"]["loss"]
    assert gap["value"] == pytest.approx(summary["loss"] - summary["compare_loss"])
    expected = "undecided" if gap["low"] <= 0 <= gap["high"] else "better" if gap["high"] < 0 else "worse"
    assert report["verdict_on_compare"] == expected


def test_a_diverged_model_is_no_result(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = tiny_model(vocab_size=tokenizer.vocab_size)
    with torch.no_grad():
        model.lm_head.weight.fill_(torch.nan)
    folder = save(tmp_path / "model", model, tokenizer)
    data = write_rows(tmp_path / "data" / "test.jsonl", CHATS)
    with pytest.raises(CheckpointError, match="not finite"):
        run({}, tmp_path / "out", model=folder, data=data)


def test_preferences(decoder: Path, before: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [
        {"prompt": "ink?", "chosen": "black", "rejected": "stone"},
        {"prompt": "墨？", "chosen": "五色", "rejected": "一色一色"},
        {"prompt": "The stone", "chosen": " is wet", "rejected": " naive"},
    ]
    data = write_rows(tmp_path / "data" / "test.jsonl", rows)
    summary, report, _, lines = run({}, tmp_path / "out", model=decoder, data=data, compare=before)
    assert summary["metric"] == "preference_accuracy"
    totals, others = ([row[name]["total"] for row in lines] for name in ("prediction", "compare_prediction"))
    assert summary["preference_accuracy"] == pytest.approx(sum(total > 0 for total in totals) / 3)
    implicit = report["metrics"]["implicit_reward_accuracy"]["value"]
    assert implicit == pytest.approx(sum(mine > other for mine, other in zip(totals, others, strict=True)) / 3)
    assert report["baselines"]["longer"]["metrics"]["preference_accuracy"]["value"] == pytest.approx(1 / 6 + 1 / 3)
    judge = save(tmp_path / "judge", headed(tokenizer, kind="sequence", labels=("reward",)), tokenizer)
    rewarded, _, _, _ = run({"task": "prefer", "baselines": ()}, tmp_path / "judged", model=judge, data=data)
    assert rewarded["preference_accuracy"] in (0, pytest.approx(1 / 3), pytest.approx(2 / 3), 1)


def test_problems(decoder: Path, tmp_path: Path) -> None:
    rows = [
        {"question": "1 + 1 =", "answer": "2"},
        {"question": "二加零等于", "answer": "2"},
        {"question": "3+4=", "answer": "7"},
    ]
    data = write_rows(tmp_path / "data" / "train.jsonl", rows)
    write_rows(data / "test.jsonl", rows)
    config = {"task": "solve", "max_new_tokens": 4, "num_samples": 3, "batch_size": 4}
    summary, report, _, lines = run(config, tmp_path / "out", model=decoder, data=data)
    assert summary["metric"] == "solved"
    assert report["baselines"]["majority_answer"]["metrics"]["solved"]["value"] == pytest.approx(2 / 3)
    assert all(len(row["prediction"]["sampled"]) == 3 for row in lines)
    again, _, _, others = run({**config, "batch_size": 64}, tmp_path / "again", model=decoder, data=data)
    assert others == lines
    assert again == summary


@pytest.mark.parametrize(
    ("config", "cause"),
    [
        ({"task": "extrakt"}, "no task is called 'extrakt'(.|\n)*did you mean 'extract'"),
        ({"task": "extract"}, "cannot do the task extract(.|\n)*it can do: classify"),
        ({"metrics": ("bleu",)}, "bleu is for texts, and the task classify has classes"),
        ({"baselines": ("copy",)}, "copy is for texts"),
        ({"metrics": ("none",)}, "nothing to measure"),
        ({"metrics": ("acuracy",)}, "did you mean 'accuracy'"),
    ],
)
def test_wrong_settings_are_one_clear_error(
    config: dict[str, Any],
    cause: str,
    classifier: Path,
    classes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Classify, "predict", lambda *_: pytest.fail("the model runs before its settings are known"))
    with pytest.raises((ConfigError, InputError), match=cause):
        run(config, tmp_path / "out", model=classifier, data=classes)


def test_malformed_rows_and_empty_splits_are_refused(classifier: Path, classes: Path, tmp_path: Path) -> None:
    folder = write_rows(tmp_path / "data" / "test.jsonl", [{"text": "a", "label": "good"}, {"text": "b"}])
    with pytest.raises(InputError, match=r"test\.jsonl:2: 1 rows are malformed"):
        run({}, tmp_path / "out", model=classifier, data=folder)
    with pytest.raises(InputError, match="no examples in the valid split"):
        run({"split": "valid"}, tmp_path / "none", model=classifier, data=classes / "train.jsonl")


def test_long_texts_are_an_error_or_counted(
    classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path / "data" / "test.jsonl", [{"text": "ink " * 200, "label": "good"}])
    with pytest.raises(InputError, match="longer than 64 tokens"):
        run({"split": "all"}, tmp_path / "out", model=classifier, data=data)
    _, report, page, _ = run({"split": "all", "truncate": True}, tmp_path / "cut", model=classifier, data=data)
    assert "1 of 1 texts were cut to 64 tokens" in capsys.readouterr().err
    assert report["facts"]["notes"] == ["1 of 1 texts were cut to 64 tokens"]
    assert report["facts"]["notes"][0] in page


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "ink " * 100, "chosen": "wet", "rejected": "dry"},
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "墨" * 100}]},
    ],
)
def test_long_conversations_likewise(row: Mapping[str, Any], decoder: Path, tmp_path: Path) -> None:
    data = write_rows(
        tmp_path / "data" / "test.jsonl", [CHATS[0] if "messages" in row else {**row, "prompt": "ink"}, row]
    )
    with pytest.raises(InputError, match=r"test\.jsonl:2: \d+ tokens.* the model reads 64"):
        run({}, tmp_path / "out", model=decoder, data=data)
    _, report, _, rows = run({"truncate": True}, tmp_path / "cut", model=decoder, data=data)
    assert "were cut to 64 tokens" in report["facts"]["notes"][0]
    if "messages" in row:
        assert 0 < rows[1]["prediction"]["num_tokens"] < 64
    else:
        assert rows[1]["prediction"]["total"] != rows[0]["prediction"]["total"]


def test_of_what_is_too_long_the_prompt_is_cut_first_and_then_the_end_of_the_answer() -> None:
    def fitted(num_prompt: int, num_answer: int, *, truncate: bool = True) -> list[int]:
        subject: Any = SimpleNamespace(context=4, config=SimpleNamespace(truncate=truncate))
        ids = list(range(num_prompt + num_answer))
        sequence = TokenSequence.of(ids, [0] * num_prompt + [1] * num_answer)
        return _fitting(sequence, subject, "here").input_ids.tolist()

    assert fitted(2, 2) == [0, 1, 2, 3]
    assert fitted(4, 2) == [2, 3, 4, 5]
    assert fitted(2, 6) == [1, 2, 3, 4]
    with pytest.raises(InputError, match="set truncate"):
        fitted(2, 6, truncate=False)
