"""Atomic files and folders: whole or absent, whatever happens in the middle."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NoReturn

import pytest

from inkstone.core import files
from inkstone.core.errors import InputError, ResourceError
from inkstone.core.files import atomic_file, atomic_folder, read_json, remove_stale_temporaries, sha256_file, write_json


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_file_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with atomic_file(path, "w") as file:
        file.write("墨\n")
        assert not path.exists()
    assert path.read_bytes() == "墨\n".encode()
    assert everything(tmp_path) == ["deep", "deep/a.txt"]


def test_error_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail() -> NoReturn:
        with atomic_file(path) as file:
            file.write(b"new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_bytes() == b"old"
    assert everything(tmp_path) == ["a.bin"]


def test_everything_is_synced_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append("fsync"), fsync(descriptor))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append("replace"), replace(a, b))[1])
    with atomic_file(tmp_path / "a") as file:
        file.write(b"x")
    assert events == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_disk_full_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def full(_descriptor: int) -> NoReturn:
        raise OSError(code, os.strerror(code))

    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    match = r"model\.safetensors: the disk is full.*\n  remedy: free"
    with pytest.raises(ResourceError, match=match), atomic_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert everything(tmp_path) == ["model.safetensors"]


def test_disk_full_while_writing_for_real(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk's: the system itself refuses the write."""
    path = tmp_path / "checkpoint"
    with atomic_folder(path) as folder:
        (folder / "weights").write_bytes(b"old")
    program = f"""
        import resource
        from inkstone.core.errors import ResourceError
        from inkstone.core.files import atomic_folder
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        try:
            with atomic_folder({str(path)!r}) as folder:
                (folder / "weights").write_bytes(bytes(200_000))
        except ResourceError as error:
            raise SystemExit(error.exit_code)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert result.returncode == 4
    assert (path / "weights").read_bytes() == b"old"
    assert everything(tmp_path) == ["checkpoint", "checkpoint/weights"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000


def test_disk_full_as_other_libraries_say_it(tmp_path: Path) -> None:
    class SafetensorError(Exception):
        pass

    with pytest.raises(ResourceError, match="the disk is full"), atomic_folder(tmp_path / "model"):
        raise SafetensorError("I/O error: No space left on device (os error 28)")
    assert everything(tmp_path) == []


def test_folder_replaces_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "best"
    for content in ("one", "two"):
        with atomic_folder(path) as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / content).write_text(content)
    assert everything(tmp_path) == ["best", "best/sub", "best/sub/two"]


def test_folder_replaces_without_the_system_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    test_folder_replaces_the_earlier_one(tmp_path)


def test_killed_between_the_two_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where names cannot be exchanged, the earlier folder comes back when stale files are removed."""
    path = tmp_path / "best"
    with atomic_folder(path) as folder:
        (folder / "old").write_text("old")
    monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    renames: list[Any] = []
    rename = os.rename

    def dies(source: Any, target: Any) -> None:
        renames.append(source)
        if len(renames) == 2:
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", dies)
        with pytest.raises(KeyboardInterrupt), atomic_folder(path) as folder:
            (folder / "new").write_text("new")
    assert not path.exists()
    remove_stale_temporaries(tmp_path)
    assert everything(tmp_path) == ["best", "best/old"]


def test_kill_leaves_the_earlier_folder(tmp_path: Path) -> None:
    """SIGKILL at any moment of many replacements: one whole folder is there, and what is left over is removed."""
    path = tmp_path / "last"
    program = f"""
        from itertools import count
        from inkstone.core.files import atomic_folder
        for number in count():
            with atomic_folder({str(path)!r}) as folder:
                for name in "abc":
                    (folder / name).write_text(str(number) * 1000)
            print(number, flush=True)
    """
    for lines in (1, 7, 20):
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        with process.stdout:
            for _ in range(lines):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        process.wait()
        assert everything(path) == ["a", "b", "c"]
        assert len({(path / name).read_text() for name in "abc"}) == 1
        remove_stale_temporaries(tmp_path)
        assert [entry.name for entry in tmp_path.iterdir()] == ["last"]


def test_living_writers_are_spared(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "mine") as file:
        file.write(b"x")
        others = tmp_path / f".theirs.{os.getppid()}-00000000.tmp"
        others.write_bytes(b"")
        remove_stale_temporaries(tmp_path)
        assert others.exists()
    assert (tmp_path / "mine").read_bytes() == b"x"


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"name": "硯", "items": [1, 2.5, None]}
    write_json(tmp_path / "a.json", value)
    assert "硯" in (tmp_path / "a.json").read_text("utf-8")
    assert read_json(tmp_path / "a.json") == value == json.loads((tmp_path / "a.json").read_bytes())


def test_malformed_json_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1,\n "b": }')
    with pytest.raises(InputError, match=r"a\.json:2: malformed JSON"):
        read_json(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        read_json(path)
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "none.json")


def test_sha256_is_the_standard_one(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert sha256_file(tmp_path / "abc") == known
