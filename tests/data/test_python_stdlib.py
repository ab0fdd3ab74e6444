import ast
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from inkstone.core.errors import InputError
from inkstone.core.records import Document
from inkstone.data.readers.python_stdlib import docstrings


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    from inkstone.core.stage import execute
    from inkstone.data.corpus import read_documents
    from inkstone.data.stages import CollectConfig, collect

    out = tmp_path_factory.mktemp("stdlib") / "out"
    execute(collect, CollectConfig(paths=("python:stdlib",)), {}, out)
    return list(read_documents(out / "documents"))


def test_sources_are_those_of_this_python(documents: list[Document]) -> None:
    by_id = {document.id: document for document in documents}
    assert len(by_id) == len(documents)
    assert by_id["python:stdlib/json/decoder.py"].text == Path(json.decoder.__file__).read_text()
    assert by_id["python:stdlib/ast.py"].lang == "code"
    assert ast.parse(by_id["python:stdlib/heapq.py"].text)


def test_docs_are_english_and_readable(documents: list[Document]) -> None:
    by_id = {document.id: document for document in documents}
    docs = by_id["python:stdlib/docs/json.decoder"]
    assert docs.lang == "en"
    assert "Simple JSON <https://json.org> decoder" in docs.text
    assert any(document.id.startswith("python:stdlib/topics/") for document in documents)


def test_there_is_enough_to_train_on(documents: list[Document]) -> None:
    sizes = {lang: sum(len(d.text) for d in documents if d.lang == lang) for lang in ("code", "en")}
    assert sizes["code"] > 5_000_000
    assert sizes["en"] > 1_000_000


def test_other_peoples_code_and_tests_are_left_out(documents: list[Document]) -> None:
    parts = {part for document in documents for part in document.id.split("/")}
    assert not parts & {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3"}


def test_docstrings_are_gathered_with_their_names() -> None:
    method = '    def f(self, x: int = 1):\n        """Method."""\n    def g(self): pass\n'
    code = f'"""Module."""\nclass A:\n    """Class."""\n{method}'
    assert docstrings(code) == "Module.\n\nA\n\nClass.\n\nA.f(self, x: int=1)\n\nMethod."
    assert docstrings("not python (") == ""


def test_only_the_library_itself_has_this_name(collected: Callable[..., list[Document]]) -> None:
    with pytest.raises(InputError, match="there is only `python:stdlib`"):
        collected("python:site-packages")
