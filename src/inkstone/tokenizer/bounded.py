"""Rendering templates in a process of its own, which ends when one takes more time or memory than it may."""

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple

from inkstone.core.errors import InputError

MAX_TEMPLATE_CHARACTERS = 1 << 20
MAX_RENDERED_CHARACTERS = 1 << 24
MAX_SECONDS = 0.5
"""Processor time of one rendering."""
MAX_WAIT_SECONDS = 10.0
"""Time on the clock, for a machine too busy to give a template its processor time."""
MAX_BYTES = 1 << 28

_REMEDY = "check the template, the roles and their order; it is the tokenizer's chat_template.jinja"


class Beginning(NamedTuple):
    """A part of a conversation that is rendered by itself."""

    num_messages: int
    add_generation_prompt: bool
    """Whether it ends with what begins an assistant's turn."""


def render_bounded(
    template: str, variables: Mapping[str, Any], beginnings: Sequence[Beginning]
) -> list[tuple[str, list[tuple[int, int]]]]:
    """Render a Jinja template whose author nobody knows.

    Args:
        template: Jinja source.
        variables: what it may read: JSON values only; the list `messages` is one of them.
        beginnings: of `messages`, each rendered by itself, all in one exchange with the process.

    Returns:
        For each beginning the text, and the spans of its characters that lie in ``{% generation %}`` blocks.

    Raises:
        InputError: the template is malformed, refuses the variables, or takes too much time, memory or space.
    """
    if len(template) > MAX_TEMPLATE_CHARACTERS:
        raise _refused(f"it has more than {MAX_TEMPLATE_CHARACTERS:,} characters")
    request = {
        "template": template,
        "variables": variables,
        "beginnings": beginnings,
        "max_seconds": MAX_SECONDS,
        "max_characters": MAX_RENDERED_CHARACTERS,
    }
    try:
        line = json.dumps(request).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"a chat may hold JSON values only: {error}") from None
    worker = _worker(os.getpid())
    answers = worker.ask(line)
    for answer in answers:
        if "text" not in answer:
            raise _refused(answer.get("limit") or answer["error"])
    return [(answer["text"], [(start, end) for start, end in answer["spans"]]) for answer in answers]


def _refused(cause: str) -> InputError:
    return InputError(f"the chat template cannot render this conversation: {cause}", remedy=_REMEDY)


class _Worker:
    """One process that renders, started when first needed and again after it had to be stopped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, line: bytes) -> list[dict[str, Any]]:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = self._start()
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            try:
                self._process.stdin.write(line)
                self._process.stdin.flush()
                answer = _read_line(self._process.stdout, MAX_WAIT_SECONDS)
            except BrokenPipeError:
                answer = b""
            if not answer:
                _stop(self._process, os.getpid())
                self._process = None
                return [{"limit": f"it takes more than {MAX_SECONDS:g} s or {MAX_BYTES >> 20:,} MB"}]
            parsed: list[dict[str, Any]] = json.loads(answer)
            return parsed

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", str(Path(__file__).with_name("template_worker.py")), str(MAX_BYTES)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=os.sep
        )
        weakref.finalize(self, _stop, process, os.getpid())
        return process


@lru_cache(maxsize=1)
def _worker(process_id: int) -> _Worker:
    """The worker of this process: after a fork, the child starts its own."""
    del process_id
    return _Worker()


def _stop(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() != owner:
        return
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError):
            pipe.close()


def _read_line(stream: IO[bytes], seconds: float) -> bytes:
    """A whole line, or nothing when the other end closes or stays silent for `seconds`."""
    parts: list[bytes] = []
    while not parts or not parts[-1].endswith(b"\n"):
        if not select.select([stream], [], [], seconds)[0]:
            return b""
        part = os.read(stream.fileno(), 1 << 16)
        if not part:
            return b""
        parts.append(part)
    return b"".join(parts)
