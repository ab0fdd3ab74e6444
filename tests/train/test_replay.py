from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inkstone.core.errors import ConfigError, InputError
from inkstone.core.manifest import read_manifest
from inkstone.core.registry import lookup
from inkstone.core.stage import execute
from inkstone.nn.architectures import ARCHITECTURES
from inkstone.nn.heads import HeadConfig
from inkstone.tokenizer import Tokenizer
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.learning import build_model, equip
from inkstone.train.replay import Replay, ReplayText
from tests.tiny_models import tiny_model, tiny_tokenizer
from tests.train.helpers import tiny_loop
from tests.train.taught import job_of
from tests.train.test_from_scratch import settings

GENERAL = "".join(f"{number}: the stone is wet and the ink is black, 墨分五色\n" for number in range(60))


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inkstone.train.metrics.plot_losses", lambda *_: None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "general.txt"
    path.write_text(GENERAL)
    return path


@pytest.mark.parametrize(("share", "tokens_per_step"), [(0.1, 640.0), (0.25, 100.5), (0.5, 17.3), (0.9, 40.0)])
def test_the_share_of_tokens_is_exact_over_many_steps(share: float, tokens_per_step: float, file: Path) -> None:
    text = ReplayText(file, tiny_model(), tiny_tokenizer(), file.parent / "tokens", seed=0)
    replay = text.beside(share, tokens_per_step, most_tokens=64)
    steps = 400
    counts = [sum(batch["input_ids"].numel() for batch in replay.batches(step)) for step in range(steps)]
    wanted = tokens_per_step * share / (1 - share)
    assert min(counts) > 0
    assert abs(sum(counts) - steps * wanted) <= max(replay.length, steps * (wanted - int(wanted)))
    assert all(batch["input_ids"].shape[0] <= replay.micro_batch_size for batch in replay.batches(3))


def test_steps_read_on_where_the_last_one_ended_and_again_when_resumed(file: Path) -> None:
    text = ReplayText(file, tiny_model(), tiny_tokenizer(), file.parent / "tokens", seed=0)
    replay = text.beside(0.5, 200.0, most_tokens=10**6)
    read = torch.cat([replay.batches(step)[0]["input_ids"] for step in range(6)])
    whole = replay.objective.collate(replay.examples.batch(0, len(read)))["input_ids"]
    assert torch.equal(read, whole)
    again = ReplayText(file, tiny_model(), tiny_tokenizer(), file.parent / "tokens", seed=0).beside(0.5, 200.0, 10**6)
    assert torch.equal(again.batches(4)[0]["input_ids"], replay.batches(4)[0]["input_ids"])


@pytest.mark.parametrize("num_documents", [1, 45])
def test_what_is_held_out_is_not_learned(num_documents: int, tmp_path: Path) -> None:
    path = tmp_path / "general.jsonl"
    texts = [f"文{number} " + "abcdefgh"[number % 8] * 60 for number in range(num_documents)]
    if num_documents == 1:
        texts = [GENERAL]
    path.write_text("".join(f'{{"text": {text!r}}}\n'.replace("'", '"').replace("\\\\n", "\\n") for text in texts))
    tokenizer = tiny_tokenizer()
    text = ReplayText(path, tiny_model(), tokenizer, tmp_path / "tokens", seed=0)
    learned, held_out = (
        tokenizer.decode(store.tokens.astype(np.int64).tolist()) for store in (text._train, text._valid)
    )
    if num_documents == 1:
        assert GENERAL.startswith(learned.strip())
        assert GENERAL.endswith(held_out)
        assert len(held_out) == pytest.approx(len(GENERAL) / 20, abs=1)
    else:
        assert [name in held_out for name in ("文0 ", "文1 ", "文20 ", "文40 ")] == [True, False, True, True]
        assert [name in learned for name in ("文0 ", "文1 ", "文20 ", "文40 ")] == [False, True, False, False]


def test_the_gradient_is_the_weighted_sum_of_both(corpus_folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    def gradients(replay: Replay | None, name: str) -> tuple[dict[str, torch.Tensor], float, dict[str, float]]:
        loop = tiny_loop(corpus_folder, tokenizer, tmp_path / name)
        loop.replay = replay
        loss, metrics, _ = loop.accumulate_gradient(16)
        return {name: p.grad.clone() for name, p in loop.model.named_parameters() if p.grad is not None}, loss, metrics

    model = tiny_loop(corpus_folder, tokenizer, tmp_path / "model").model
    text = ReplayText(corpus_folder, model, tokenizer, tmp_path / "tokens", seed=5)
    replay = text.beside(0.25, 256.0, most_tokens=64)
    both, loss, metrics = gradients(replay, "both")
    job, job_loss, _ = gradients(None, "job")

    model.zero_grad()
    batches = replay.batches(2)
    losses = [replay.objective.loss(model, batch)[0] for batch in batches]
    mean = torch.stack(losses).sum() / sum(replay.objective.num_targets(batch) for batch in batches)
    mean.backward()
    assert len(batches) > 1
    assert loss == job_loss
    assert metrics["replay_loss"] == pytest.approx(float(mean.detach()), rel=1e-6)
    for name, parameter in model.named_parameters():
        expected = 0.75 * job[name] + 0.25 * parameter.grad
        torch.testing.assert_close(both[name], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("arch", sorted(ARCHITECTURES))
def test_every_family_learns_text_as_it_did(arch: str, tokenizer: Tokenizer, file: Path) -> None:
    config = settings(arch)
    equipped = equip(tokenizer, config)
    model = build_model(config, equipped)
    text = ReplayText(file, model, equipped, file.parent / "tokens", seed=0)
    for objective, examples in (
        ((r := text.beside(0.5, 32.0, 10**6)).objective, r.examples.batch(0, 2)),
        text.held_out(64),
    ):
        batch = objective.collate(examples)
        assert objective.num_targets(batch) > 0
        assert torch.isfinite(objective.loss(model, batch)[0])


def test_what_cannot_be_replayed_is_refused(tokenizer: Tokenizer, file: Path) -> None:
    from inkstone.checkpoint.heads import with_head

    headed = with_head(tiny_model(), HeadConfig(kind="sequence", labels=("a", "b")))
    with pytest.raises(InputError, match="no output layer for text"):
        ReplayText(file, headed, tiny_tokenizer(), file.parent / "tokens", seed=0)
    encoder = build_model(settings("bert"), equip(tokenizer, settings("bert")))
    with pytest.raises(ConfigError, match="no tokens to hide text with"):
        ReplayText(file, encoder, tokenizer, file.parent / "tokens", seed=0)
    text = ReplayText(file, tiny_model(), tiny_tokenizer(), file.parent / "tokens", seed=0)
    with pytest.raises(ConfigError, match=r"a share of 0.1 is 4.4 tokens beside the 40 of a step"):
        text.beside(0.1, 40.0, 64)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_summary_says_what_was_forgotten(share: float, tmp_path: Path, file: Path) -> None:
    job = job_of("chat", tmp_path, replay_share=share, steps=6, learning_rate=3e-3)
    inputs = {**job.inputs, "replay": str(file)}
    config = FinetuneConfig(**job.config)
    summary = execute(lookup("stages", "finetune"), config, inputs, tmp_path / "out").summary
    before, after = summary["general_loss_before"], summary["general_loss_after"]
    assert summary["general_loss_change"] == pytest.approx(after - before)
    assert before == pytest.approx(held_out_loss(Path(inputs["model"]), tmp_path / "out", file), rel=1e-5)
    assert after == pytest.approx(held_out_loss(tmp_path / "out", tmp_path / "out", file), rel=1e-5)
    assert (after < before) or share == 0
    assert read_manifest(tmp_path / "out").inputs.keys() == {"model", "data", "replay"}


def held_out_loss(folder: Path, out: Path, file: Path) -> float:
    """Nats per token of a saved model on the held-out text, computed sequence by sequence from its logits."""
    from inkstone.checkpoint import load_checkpoint

    model, tokenizer = load_checkpoint(folder, "cpu", "float32")
    text = ReplayText(file, model, tokenizer, out / "replay", seed=0)
    total, count = 0.0, 0
    _, sequences = text.held_out(65_536)
    for sequence in sequences:
        kept: Any = torch.from_numpy(sequence.labels)
        with torch.no_grad():
            logits = model(
                torch.from_numpy(sequence.input_ids)[None],
                position_ids=torch.from_numpy(sequence.position_ids)[None],
                segment_ids=torch.from_numpy(sequence.segment_ids)[None],
            )
        total += float(torch.nn.functional.cross_entropy(logits[0].float(), kept, ignore_index=-100, reduction="sum"))
        count += int((kept != -100).sum())
    return total / count


def test_a_share_without_text_is_refused(tmp_path: Path) -> None:
    job = job_of("chat", tmp_path, replay_share=0.2)
    with pytest.raises(ConfigError, match="there is no text to replay"):
        execute(lookup("stages", "finetune"), FinetuneConfig(**job.config), job.inputs, tmp_path / "out")
