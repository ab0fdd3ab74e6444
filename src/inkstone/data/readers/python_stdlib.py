"""`python:stdlib`: the standard library of the running Python, its sources and its English documentation.

Nothing is imported: modules are parsed. Left out are tests, fixtures, generated tables and packages that are not part
of the library. Ids and order depend only on the Python version.
"""

import ast
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from inkstone.core.errors import InputError
from inkstone.core.records import Document
from inkstone.data.readers.base import Reading, Source
from inkstone.data.readers.html import visible_text

_LEFT_OUT = frozenset(
    {
        "site-packages",
        "dist-packages",
        "test",
        "tests",
        "idle_test",
        "lib2to3",
        "__phello__",
        "__pycache__",
        "lib-dynload",
        "_pyrepl_test",
    }
)
_HELP_TOPICS = "pydoc_data/topics.py"
_GENERATED_BY = "gencodec.py"
"""Named at the head of the character tables in `encodings`, a tenth of the library and nearly all alike."""
_MIN_DOC_CHARS = 200


class PythonReader:
    """Reads `python:stdlib`."""

    suffixes: ClassVar[frozenset[str]] = frozenset()
    scheme: ClassVar[str] = "python"

    def read(self, source: Source, reading: Reading) -> Iterator[Document]:
        """Yield each module's source (code) and docstrings (en), then the help topics and other docs (en).

        Source and docstrings carry the module's name in `meta.module`, to be held out together.
        """
        if source.name != "python:stdlib":
            raise InputError("there is only `python:stdlib`", where=source.name, remedy="write `python:stdlib`")
        root = stdlib_folder()
        for path in _files(root, ".py"):
            name = path.relative_to(root).as_posix()
            text = _read(path)
            if text is None or name == _HELP_TOPICS or _GENERATED_BY in text[:300]:
                continue
            if not text.strip():
                reading.counts["empty"] += 1
                continue
            module = {"module": _module(name)}
            yield from reading.cut(Document(text, f"{source.name}/{name}", source.name, "code", module))
            docs = docstrings(text)
            if len(docs) >= _MIN_DOC_CHARS:
                yield from reading.cut(Document(docs, f"{source.name}/docs/{_module(name)}", source.name, "en", module))
        for topic, text in _topics(root / _HELP_TOPICS):
            yield from reading.cut(Document(text, f"{source.name}/topics/{topic}", source.name, "en"))
        for path in (*_files(root, ".txt"), *_files(root, ".rst"), *_files(root, ".html")):
            text = _read(path) or ""
            text = visible_text(text) if path.suffix == ".html" else text
            if len(text) >= _MIN_DOC_CHARS:
                yield from reading.cut(
                    Document(text, f"{source.name}/{path.relative_to(root).as_posix()}", source.name, "en")
                )


def stdlib_folder() -> Path:
    """Where the running Python keeps its library; also right inside a virtual environment."""
    folder = Path(sysconfig.get_path("stdlib"))
    if not (folder / "os.py").is_file():
        folder = Path(os.__file__).parent
    if not (folder / "os.py").is_file():
        raise InputError(
            "this Python keeps its standard library in an archive without readable sources",
            where=str(folder),
            remedy="use a Python from python.org, your distribution, pyenv or conda, or collect other files",
        )
    return folder


def _files(root: Path, suffix: str) -> Iterator[Path]:
    for parent, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT and not name.startswith(("config-", ".")))
        yield from (
            Path(parent, name)
            for name in sorted(names)
            if name.endswith(suffix) and not name.startswith("_sysconfigdata")
        )


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError):
        return None


def _module(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def docstrings(code: str) -> str:
    """Docstrings of a module, its classes and functions, each under its qualified name; empty when there are none."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return ""
    found = []
    if (text := ast.get_docstring(tree)) is not None:
        found.append(text.strip())
    found.extend(_nested_docstrings(tree, ""))
    return "\n\n".join(found)


def _nested_docstrings(node: ast.AST, prefix: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = prefix + child.name
            text = ast.get_docstring(child)
            if text and text.strip():
                yield f"{name}{_signature(child)}\n\n{text.strip()}"
            yield from _nested_docstrings(child, f"{name}.")


def _signature(node: ast.AST) -> str:
    return f"({ast.unparse(node.args)})" if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else ""


def _topics(path: Path) -> Iterator[tuple[str, str]]:
    """Help topics: the dictionary literal in `pydoc_data.topics`, parsed."""
    text = _read(path) if path.is_file() else None
    for node in ast.parse(text).body if text else []:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Dict):
            topics = ast.literal_eval(value)
            yield from ((str(name), str(topics[name])) for name in sorted(topics))
