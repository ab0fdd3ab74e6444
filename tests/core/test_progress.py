"""What is printed while a long step runs, on a terminal and elsewhere."""

import os
import pty
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from inkstone.core import progress as module
from inkstone.core.progress import duration, progress, say, set_quiet, size, tee, value_text

PROGRAM = """
    from inkstone.core import progress
    progress.PLAIN_INTERVAL_S = 0.0
    import time
    with progress.progress("pretrain", total=4, unit="step") as bar:
        for step in range(4):
            time.sleep(0.3)
            bar.update(loss=2.5, tokens_per_s=12345.0)
            if step == 1:
                progress.say("half way")
"""


def test_plain_lines_elsewhere(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLAIN_INTERVAL_S", 0.0)
    with progress("read", total=2, unit="file") as bar:
        bar.update(loss=2.5)
        say("a word")
        bar.update()
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert re.fullmatch(r"read: 1/2 files \(50%\), [\d,.]+ files/s, .* left, loss 2\.500", lines[0])
    assert lines[1] == "a word"
    assert re.fullmatch(r"read: 2 files in .* s, loss 2\.500", lines[-1])
    assert "\x1b" not in err


def test_live_bar_on_a_terminal() -> None:
    shown, code = on_a_terminal(PROGRAM, columns=120)
    assert code == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert "━" in text
    assert re.search(r"\d/4 steps \(\d+%\) · [\d.]+ steps/s · [\d.]+ s left · loss 2\.500 · tokens/s 12,345", text)
    assert "half way" in text
    assert text.rstrip().splitlines()[-1].startswith("pretrain: 4 steps in ")


VIEW = """
    import signal, sys, time
    from rich.panel import Panel
    from inkstone.core import progress

    class View:
        losses = []

        def update(self, fields):
            self.losses.append(fields["loss"])

        def draw(self, bar):
            return Panel(f"墨 {bar.count()} {self.losses}")

    with progress.progress("train", total=4, unit="step", view=View()) as bar:
        for step in range(4):
            bar.update(loss=step)
            if step == 1:
                progress.say("half way")
                time.sleep(1.2)
                if sys.argv[1:]:
                    signal.raise_signal(signal.SIGINT)
"""


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_view_on_a_terminal_leaves_it_as_it_was(interrupted: bool) -> None:
    shown, code = on_a_terminal(VIEW, *["interrupt"] * interrupted)
    assert (code != 0) == interrupted
    assert "╭" in shown
    assert "墨 2/4 steps (50%) [0, 1]" in shown
    assert "half way" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is shown again
    after = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown[shown.rindex("\x1b[2K") :])
    assert "╭" not in after
    assert ("train: 4 steps in " in after) != interrupted
    framed = [line for line in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).splitlines() if "╭" in line]
    assert all(len(line.strip()) <= 80 - len("^C") for line in framed)


def test_a_view_is_plain_lines_elsewhere(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class NoView:
        def update(self, fields: Mapping[str, Any]) -> None:
            raise AssertionError("nobody looks")

        draw = update

    monkeypatch.setattr(module, "PLAIN_INTERVAL_S", 0.0)
    with progress("train", total=2, unit="step", view=NoView()) as bar:  # type: ignore[arg-type]
        bar.update(loss=2.5)
    assert capsys.readouterr().err.startswith("train: 1/2 steps (50%), ")


def on_a_terminal(program: str, *arguments: str, columns: int = 80) -> tuple[str, int]:
    """What a program writes to a terminal, and its exit code."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns)}
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    with subprocess.Popen(command, stderr=slave, stdout=slave, env=environment) as process:
        os.close(slave)
        shown = b""
        while chunk := _read(master):
            shown += chunk
    os.close(master)
    return shown.decode(), process.returncode


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


def test_rate_does_not_count_earlier_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    bar = module.Bar("train", 1000, "step", done=500)
    for _ in range(10):
        clock[0] += 1.0
        bar.update(5)
    assert bar.done == 550
    assert bar.rate == pytest.approx(5.0)
    assert bar.seconds_left == pytest.approx(450 / 5.0)


def test_rate_follows_the_last_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    bar = module.Bar("train", 10_000, "step", done=0)
    clock[0] = 60.0
    bar.update(1)
    for _ in range(100):
        clock[0] += 1.0
        bar.update(10)
    assert bar.rate == pytest.approx(10.0)


def test_quiet_still_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_quiet(True)
    try:
        with tee(tmp_path / "log.txt"):
            say("noted")
    finally:
        set_quiet(False)
    say("aloud")
    assert capsys.readouterr().err == "aloud\n"
    assert (tmp_path / "log.txt").read_text().endswith(" noted\n")


def test_values_have_four_digits() -> None:
    values = (12345.6, 123.4, 12.345, 2.5, 0.5, 0.0012, -0.25, 7, 12345, True, "34%")
    texts = ["12,346", "123", "12.35", "2.500", "0.500", "0.0012", "-0.250", "7", "12,345", "True", "34%"]
    assert [value_text(value) for value in values] == texts


def test_amounts_read_well() -> None:
    assert [duration(s) for s in (0.04, 9.94, 12, 125, 7500)] == ["0.0 s", "9.9 s", "12 s", "2 min 05 s", "2 h 05 min"]
    assert [size(n) for n in (0, 999, 1500, 2.5e6, 3e9, 4e12)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.5 MB",
        "3.0 GB",
        "4.0 TB",
    ]
