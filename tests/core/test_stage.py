"""Running stages: skip, continue, keep earlier work, and write the manifest last."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from inkstone.core.config import Config
from inkstone.core.errors import CheckpointError, ConfigError, InputError, ResourceError
from inkstone.core.manifest import read_manifest, record_sources, verify_manifest
from inkstone.core.stage import Stage, Summary, execute, has_unfinished_work, is_complete, is_locked, stage

calls: list[str] = []


class CopyConfig(Config):
    text: str = "x"
    """What to write."""
    seed: int = 3
    """Seed."""
    paths: tuple[str, ...] = ()
    """Sources."""


def sources(config: CopyConfig) -> Iterable[Path]:
    return map(Path, config.paths)


@stage("copy", inputs=("documents",), version=2, sources=sources)
def copy(config: CopyConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Copy the documents.

    More about it.
    """
    calls.append("found earlier work" if (out / "part").exists() else "fresh")
    (out / "part").write_text("half")
    if config.text == "fails":
        raise RuntimeError("half way")
    if config.text == "full":
        raise OSError(28, "No space left on device")
    (out / "sub").mkdir(exist_ok=True)
    (out / "sub" / "copy.txt").write_text(config.text + (inputs["documents"] / "a.txt").read_text())
    return {"documents": 1}


@pytest.fixture(autouse=True)
def forget() -> None:
    calls.clear()


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "a.txt").write_text("hello")
    return folder


def test_decorator_reads_the_function() -> None:
    assert isinstance(copy, Stage)
    assert (copy.name, copy.config, copy.inputs, copy.version) == ("copy", CopyConfig, ("documents",), 2)
    assert copy.help == "Copy the documents."


def test_manifest_says_what_was_done(tmp_path: Path, documents: Path) -> None:
    out = tmp_path / "out"
    result = execute(copy, CopyConfig(text="y"), {"documents": documents}, out)
    assert result.summary == {"documents": 1}
    assert not result.skipped
    manifest = verify_manifest(out)
    assert (manifest.stage, manifest.version, manifest.seed, manifest.config["text"]) == ("copy", 2, 3, "y")
    assert manifest.inputs["documents"].path == str(documents)
    assert sorted(manifest.outputs) == ["part", "sub/copy.txt"]
    assert manifest.outputs["sub/copy.txt"].size == len("yhello")
    assert manifest.digest == result.digest
    assert manifest.versions["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert sorted(path.name for path in out.iterdir()) == ["log.txt", "manifest.json", "part", "sub"]


def test_unchanged_is_skipped_wherever_its_input_lies(tmp_path: Path, documents: Path) -> None:
    out = tmp_path / "out"
    first = execute(copy, CopyConfig(), {"documents": documents}, out)
    moved = documents.rename(tmp_path / "elsewhere")
    second = execute(copy, CopyConfig(), {"documents": moved}, out)
    assert second.skipped
    assert (second.digest, second.summary) == (first.digest, first.summary)
    assert calls == ["fresh"]
    assert is_complete(copy, CopyConfig(), {"documents": moved}, out)


def test_equal_results_have_equal_digests(tmp_path: Path, documents: Path) -> None:
    digests = [execute(copy, CopyConfig(), {"documents": documents}, tmp_path / name).digest for name in ("a", "b")]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("change", ["config", "input", "source", "version"])
def test_any_change_runs_again_and_keeps_the_earlier(tmp_path: Path, documents: Path, change: str) -> None:
    source = tmp_path / "source.txt"
    source.write_text("one")
    config, out = CopyConfig(paths=(str(source),)), tmp_path / "out"
    execute(copy, config, {"documents": documents}, out)
    changed = copy
    if change == "config":
        config = CopyConfig(paths=(str(source),), text="z")
    elif change == "input":
        (documents / "a.txt").write_text("other")
    elif change == "source":
        source.write_text("two")
    else:
        changed = Stage("copy", CopyConfig, copy.run, copy.inputs, version=3, sources=sources)
    assert not is_complete(changed, config, {"documents": documents}, out)
    assert not execute(changed, config, {"documents": documents}, out).skipped
    assert (tmp_path / "out.1" / "sub" / "copy.txt").read_text() == "xhello"
    verify_manifest(tmp_path / "out.1")
    assert calls == ["fresh", "fresh"]


def test_moved_aside_twice(tmp_path: Path, documents: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in "abc":
        execute(copy, CopyConfig(text=text), {"documents": documents}, tmp_path / "out")
    kept = [(tmp_path / name / "sub" / "copy.txt").read_text()[0] for name in ("out.1", "out.2", "out")]
    assert kept == ["a", "b", "c"]
    assert "kept as out.2" in capsys.readouterr().err


def test_failure_leaves_unfinished_work_that_is_continued(tmp_path: Path, documents: Path) -> None:
    out, failing = tmp_path / "out", CopyConfig(text="fails")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="half way"):
            execute(copy, failing, {"documents": documents}, out)
    assert calls == ["fresh", "found earlier work"]
    assert has_unfinished_work(copy, failing, {"documents": documents}, out)
    assert "RuntimeError: half way" in (out / "log.txt").read_text()
    with pytest.raises(CheckpointError, match=r"no manifest\.json"):
        read_manifest(out)
    with pytest.raises(CheckpointError, match=r"no manifest\.json"):
        execute(copy, CopyConfig(), {"documents": out}, tmp_path / "next")
    assert not (tmp_path / "next").exists()


def test_unfinished_work_of_other_settings_is_kept_aside(tmp_path: Path, documents: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RuntimeError):
        execute(copy, CopyConfig(text="fails"), {"documents": documents}, out)
    execute(copy, CopyConfig(), {"documents": documents}, out)
    assert calls == ["fresh", "fresh"]
    assert (tmp_path / "out.1" / "part").exists()


def test_an_attempt_that_made_nothing_is_not_kept(tmp_path: Path, documents: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ResourceError):
        execute(copy, CopyConfig(text="full"), {"documents": documents}, out)
    (out / "part").unlink()
    assert {path.name for path in out.iterdir()} == {"stage.json", "log.txt"}
    execute(copy, CopyConfig(), {"documents": documents}, out)
    verify_manifest(out)
    assert not (tmp_path / "out.1").exists()


def test_disk_full_in_a_stage(tmp_path: Path, documents: Path) -> None:
    with pytest.raises(ResourceError, match="the disk is full"):
        execute(copy, CopyConfig(text="full"), {"documents": documents}, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_folders_of_others_are_never_touched(tmp_path: Path, documents: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="no stage wrote it"):
        execute(copy, CopyConfig(), {"documents": documents}, home)
    with pytest.raises(InputError, match="is a file"):
        execute(copy, CopyConfig(), {"documents": documents}, home / "thesis.txt")
    assert [path.name for path in home.iterdir()] == ["thesis.txt"]


def test_missing_and_unknown_inputs(tmp_path: Path, documents: Path) -> None:
    with pytest.raises(ConfigError, match="the input 'documents' is not given"):
        execute(copy, CopyConfig(), {}, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"unknown input 'docments'(.|\n)*documents"):
        execute(copy, CopyConfig(), {"documents": documents, "docments": documents}, tmp_path / "out")
    with pytest.raises(InputError, match="no such file or folder"):
        execute(copy, CopyConfig(), {"documents": tmp_path / "none"}, tmp_path / "out")
    with pytest.raises(InputError, match=r"none\.txt"):
        execute(copy, CopyConfig(paths=("none.txt",)), {"documents": documents}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["missing", "shorter", "changed", "manifest"])
def test_manifest_that_does_not_match(tmp_path: Path, documents: Path, damage: str) -> None:
    out = tmp_path / "out"
    execute(copy, CopyConfig(), {"documents": documents}, out)
    file = out / "sub" / "copy.txt"
    if damage == "missing":
        file.unlink()
    elif damage == "shorter":
        file.write_text("xhell")
    elif damage == "changed":
        file.write_text("xhallo")
    else:
        (out / "manifest.json").write_text((out / "manifest.json").read_text()[:100])
    with pytest.raises(CheckpointError, match="remedy: ") as caught:
        verify_manifest(out)
    assert str(out / "manifest.json" if damage == "manifest" else file) in str(caught.value)
    if damage != "changed":
        with pytest.raises(CheckpointError):
            execute(copy, CopyConfig(), {"documents": documents}, out)


def test_manifest_of_an_older_format(tmp_path: Path, documents: Path) -> None:
    out = tmp_path / "out"
    execute(copy, CopyConfig(), {"documents": documents}, out)
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["digest"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="digest: required, but not given"):
        read_manifest(out)


def test_source_hashes_are_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.write_text("one")
    known = record_sources(paths, {})
    hashed: list[str] = []
    monkeypatch.setattr("inkstone.core.manifest.sha256_file", lambda path: hashed.append(path) or "0")
    assert record_sources(paths, known) == known
    assert hashed == []
    time.sleep(0.01)
    paths[1].write_text("two")
    record_sources(paths, known)
    assert hashed == [str(paths[1])]


SLOW = """
    import time
    from pathlib import Path
    from inkstone.core.config import Config
    from inkstone.core.stage import execute, stage

    class Slow(Config):
        pieces: int = 8
        pause: float = 0.05

    @stage("slow")
    def slow(config: Slow, inputs, out):
        earlier = len(list(out.glob("piece-*")))
        for index in range(earlier, config.pieces):
            time.sleep(config.pause)
            (out / f"piece-{index}").write_text(str(index))
            print(index, flush=True)
        return {"found": earlier}

    print(execute(slow, Slow(pause=PAUSE), {}, Path("out")).summary["found"], flush=True)
"""


def start_slow(folder: Path, pause: float = 0.05) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SLOW).replace("PAUSE", str(pause))],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_killed_and_repeated_ends_the_same(tmp_path: Path) -> None:
    straight = tmp_path / "straight"
    straight.mkdir()
    start_slow(straight).communicate()
    for line in (0, 3, 6):
        with start_slow(tmp_path) as process:
            assert process.stdout is not None
            while int(process.stdout.readline()) < line:
                pass
            process.send_signal(signal.SIGKILL)
        assert not (tmp_path / "out" / "manifest.json").exists()
    out, _ = start_slow(tmp_path).communicate()
    assert out.splitlines()[-1] == "7"
    assert verify_manifest(tmp_path / "out").digest == verify_manifest(straight / "out").digest


def test_two_writers_of_one_folder(tmp_path: Path) -> None:
    with start_slow(tmp_path, pause=60.0) as first:
        while not (tmp_path / "out" / "stage.json").exists():
            time.sleep(0.01)
        assert is_locked(tmp_path / "out")
        _, errors = start_slow(tmp_path, pause=60.0).communicate()
        first.kill()
    assert "another process is writing this folder" in errors
    assert not is_locked(tmp_path / "out")


def test_moved_run_is_whole(tmp_path: Path, documents: Path) -> None:
    execute(copy, CopyConfig(), {"documents": documents}, tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "copied")
    os.rename(tmp_path / "out", tmp_path / "renamed")
    assert verify_manifest(tmp_path / "copied").digest == verify_manifest(tmp_path / "renamed").digest


longer = replace(copy, extends=lambda done, wanted: wanted.text.startswith(done.text) and done.seed == wanted.seed)


def test_finished_work_that_a_stage_extends_goes_on_in_place(documents: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    execute(longer, CopyConfig(text="ab"), {"documents": documents}, out)
    wanted = CopyConfig(text="abc")
    assert has_unfinished_work(longer, wanted, {"documents": documents}, out)
    assert not has_unfinished_work(copy, wanted, {"documents": documents}, out)
    execute(longer, wanted, {"documents": documents}, out)
    assert calls == ["fresh", "found earlier work"]
    assert (out / "sub" / "copy.txt").read_text() == "abchello"
    assert read_manifest(out).config["text"] == "abc"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == ["out"]
    assert execute(longer, wanted, {"documents": documents}, out).skipped


def test_begun_work_that_a_stage_extends_goes_on_in_place(documents: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        execute(longer, CopyConfig(text="fails"), {"documents": documents}, tmp_path / "out")
    execute(longer, CopyConfig(text="fails no more"), {"documents": documents}, tmp_path / "out")
    assert calls == ["fresh", "found earlier work"]


def test_killed_while_finished_work_is_taken_up_again_nothing_is_lost(
    documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the mark of new work and the end of the old manifest."""
    out = tmp_path / "out"
    execute(longer, CopyConfig(text="ab"), {"documents": documents}, out)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        execute(longer, CopyConfig(text="abc"), {"documents": documents}, out)
    monkeypatch.undo()
    assert execute(longer, CopyConfig(text="ab"), {"documents": documents}, out).skipped
    execute(longer, CopyConfig(text="abc"), {"documents": documents}, out)
    assert calls == ["fresh", "found earlier work"]
    assert not (out / "stage.json").exists()


def test_another_input_or_version_is_not_extended(documents: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    execute(longer, CopyConfig(text="ab"), {"documents": documents}, out)
    execute(replace(longer, version=3), CopyConfig(text="abc"), {"documents": documents}, out)
    (documents / "a.txt").write_text("other")
    execute(replace(longer, version=3), CopyConfig(text="abcd"), {"documents": documents}, out)
    assert calls == ["fresh"] * 3
    assert (tmp_path / "out.2").is_dir()
