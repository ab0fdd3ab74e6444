import json
from pathlib import Path
from typing import Any

import pytest

from inkstone.train.metrics import read_metrics
from inkstone.train.rl.config import RLConfig
from inkstone.train.rl.diagnosis import WINDOW, Diagnosis
from tests.train.rl.helpers import tiny_loop

HEALTHY = {
    "reward": 0.4,
    "reward_std": 0.5,
    "equal_groups": 0.3,
    "completion_tokens": 40.0,
    "truncated": 0.02,
    "entropy": 1.0,
    "kl": 0.02,
    "clip_share": 0.01,
    "max_ratio": 1.001,
}


def said(*stages: dict[str, float], config: RLConfig | None = None) -> list[str]:
    """What is said in three windows of steps of each stage."""
    diagnosis = Diagnosis(config or RLConfig(group_size=8))
    rows = [HEALTHY | stage for stage in stages for _ in range(3 * WINDOW)]
    return [text for row in rows for text in diagnosis.after_step(row)]


def test_nothing_is_said_of_a_healthy_run() -> None:
    assert said({}, {"reward": 0.9, "completion_tokens": 5.0, "entropy": 0.02, "equal_groups": 0.8}) == []


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ({"equal_groups": 1.0, "reward": 0.0}, r"in 9\d% of the groups all rewards are equal.*is 0\.0\d+\..*fine-tune"),
        ({"equal_groups": 1.0, "reward": 0.9}, r"rose from 0\.400 to 0\.\d+: .*give harder ones"),
        (
            {"clip_share": 0.4, "max_ratio": 9.0},
            r"\d+% of the tokens are clipped.*reaches [56]\.\d.*lower learning_rate",
        ),
        (
            {"truncated": 0.8, "equal_groups": 1.0, "reward": 0.0},
            r"\d+% of the completions are cut off.*max_new_tokens",
        ),
        ({"completion_tokens": 4.0}, r"shrank from 40\.0 to \d\.\d tokens.*raise rl\.kl_coefficient"),
        ({"entropy": 0.05}, r"entropy fell from 1\.000 to 0\.\d+ nats.*clip_high"),
        ({"kl": 1.5}, r"KL 1\.\d+ nats per token, after 0\.020.*kl_coefficient"),
    ],
)
def test_each_ill_is_said_once_with_numbers_and_a_remedy(
    later: dict[str, float], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    config = RLConfig(updates_per_rollout=4)
    texts = said({}, later, config=config)
    assert len([text for text in texts if re.search(expected, text)]) == 1
    assert len(texts) == len(set(texts)) <= 2
    assert f"diagnosis: {texts[0]}" in capsys.readouterr().err


def test_a_ratio_that_should_be_one_points_to_the_number_format() -> None:
    assert ["float32" in text for text in said({"max_ratio": 1.8})] == [True]
    assert said({"max_ratio": 1.8}, config=RLConfig(updates_per_rollout=2)) == []


def test_what_was_said_survives_a_checkpoint() -> None:
    first, second = Diagnosis(RLConfig()), Diagnosis(RLConfig())
    ill = HEALTHY | {"equal_groups": 1.0}
    texts = [text for _ in range(2 * WINDOW) for text in first.after_step(ill)]
    assert len(texts) == 1
    second.load_state_tensors(first.state_tensors())
    later = ill | {"entropy": 0.0}
    assert [first.after_step(later) for _ in range(WINDOW)] == [second.after_step(later) for _ in range(WINDOW)]


def test_a_run_that_learns_nothing_says_why_and_keeps_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rl: dict[str, Any] = {"rewards": {"exact": 1}, "max_new_tokens": 2, "group_size": 2}
    tiny_loop(tmp_path, steps=12, rl=rl).run()
    rows = [row for row in read_metrics(tmp_path) if "diagnosis" in row]
    assert len(rows) >= 1
    assert rows[0]["step"] == WINDOW
    assert "all rewards are equal" in rows[0]["diagnosis"]
    assert rows[0]["diagnosis"] in capsys.readouterr().err
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])["equal_groups"] == 1.0
