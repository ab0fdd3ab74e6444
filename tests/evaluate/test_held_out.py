"""Text to measure on without a prepared corpus: a file, or collected documents."""

import math
from pathlib import Path

import pytest
import torch

from inkstone.checkpoint import save_checkpoint
from inkstone.cli import main
from inkstone.core.errors import InkstoneError
from inkstone.core.files import read_json
from inkstone.evaluate.held_out import open_text
from tests.tiny_models import TEXTS, tiny_model, tiny_tokenizer


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text("\n\n".join(TEXTS), "utf-8")
    return tmp_path / "text.txt"


def test_a_file_is_held_out_text(text: Path) -> None:
    opened = open_text(text)
    assert [document.text for document in opened.documents("valid")] == [text.read_text("utf-8")]
    assert opened.num_documents("valid") == 1
    assert opened.num_bytes("valid") == text.stat().st_size
    assert list(opened.texts("train")) == []
    with pytest.raises(InkstoneError, match="not a corpus"):
        open_text(text.parent)


def test_the_loss_on_a_file_is_the_mean_over_its_tokens(text: Path, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(max_position_embeddings=512), tiny_tokenizer()
    save_checkpoint(tmp_path / "model", model, tokenizer)
    arguments = ["--model", str(tmp_path / "model"), "--corpus", str(text), "--out", str(tmp_path / "out")]
    assert main(["evaluate", *arguments, "--dtype", "float32", "--ngram-order", "2"]) == 0
    ids = torch.tensor([tokenizer.encode(text.read_text("utf-8"))])
    with torch.inference_mode():
        expected = torch.nn.functional.cross_entropy(model(ids)[0, :-1], ids[0, 1:]).item()
    loss = read_json(tmp_path / "out" / "report.json")["loss"]["value"]
    assert math.isclose(loss, expected, rel_tol=1e-4)


def test_collected_documents_are_held_out_text(text: Path, tmp_path: Path) -> None:
    assert main(["collect", "--paths", str(text), "--split", "paragraphs", "--out", str(tmp_path / "documents")]) == 0
    opened = open_text(tmp_path / "documents")
    assert opened.num_documents("valid") == len(TEXTS)
