"""Stages: functions from folders to one folder, run so that they skip, resume and never lose earlier work."""

import contextlib
import inspect
import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from inkstone.core.config import Config, suggestion
from inkstone.core.errors import ConfigError, InkstoneError, InputError, ResourceError
from inkstone.core.files import StrPath, disk_errors, read_json, remove_stale_temporaries, write_json
from inkstone.core.manifest import (
    LOG,
    MANIFEST,
    STATE,
    InputRecord,
    SourceRecord,
    compute_fingerprint,
    digest_input,
    has_manifest,
    read_manifest,
    record_sources,
    verify_manifest,
    write_manifest,
)
from inkstone.core.progress import say, tee

C = TypeVar("C", bound=Config)
Summary = dict[str, Any]
"""What a stage reports: JSON values, shown at its end and kept in the manifest."""


@dataclass(frozen=True)
class Stage(Generic[C]):
    """A named function ``run(config, inputs, out) -> Summary`` with the type of its configuration."""

    name: str
    config: type[C]
    run: Callable[[C, Mapping[str, Path], Path], Summary]
    inputs: tuple[str, ...] = ()
    optional_inputs: tuple[str, ...] = ()
    """Inputs that need not be given; `run` finds no such key then."""
    help: str = ""
    version: int = 1
    sources: Callable[[C], Iterable[Path]] | None = None
    """The files outside of any stage's folder that `run` will read."""
    plan: Callable[[C, Mapping[str, Path]], Mapping[str, Any]] | None = None
    """Estimated cost: any of parameters, trained_parameters, memory_bytes, memory (bytes by part), disk_bytes, tokens,
    seconds, alternatives (settings that need less memory, the nearest first: `settings`, `memory_bytes`, `seconds`),
    and free text rows."""
    outline: Callable[[C, Mapping[str, Path], Path], None] | None = None
    """Writes to a folder what later stages are planned with before `run` has made it: files as `run` writes them, of
    examples all or some, of weights the shapes."""
    extends: Callable[[C, C], bool] | None = None
    """Whether work done (or begun) with the first settings goes on under the second in the same folder: a training
    run with more steps. `run` finds all files of the earlier work, and that of a finished run is complete."""


@dataclass(frozen=True)
class StageResult:
    """What `execute` did."""

    summary: Summary
    skipped: bool
    """The folder was already complete with the same fingerprint."""
    digest: str
    seconds: float


def stage(
    name: str,
    *,
    inputs: tuple[str, ...] = (),
    optional_inputs: tuple[str, ...] = (),
    version: int = 1,
    sources: Callable[[C], Iterable[Path]] | None = None,
    plan: Callable[[C, Mapping[str, Path]], Mapping[str, Any]] | None = None,
    outline: Callable[[C, Mapping[str, Path], Path], None] | None = None,
    extends: Callable[[C, C], bool] | None = None,
) -> Callable[[Callable[[C, Mapping[str, Path], Path], Summary]], Stage[C]]:
    """Decorator: makes a Stage of ``run(config: SomeConfig, inputs, out)``; its docstring's first line is the help."""

    def decorate(run: Callable[[C, Mapping[str, Path], Path], Summary]) -> Stage[C]:
        config = get_type_hints(run)["config"]
        summary_line = (inspect.getdoc(run) or "").partition("\n")[0]
        return Stage(name, config, run, inputs, optional_inputs, summary_line, version, sources, plan, outline, extends)

    return decorate


def execute(stage: Stage[C], config: C, inputs: Mapping[str, StrPath], out: StrPath) -> StageResult:
    """Run a stage into `out`, unless `out` already holds the result of exactly this run.

    Unfinished work of the same fingerprint is continued in place, and so is work, finished or not, that the stage
    `extends`; a folder of another fingerprint is moved aside to ``<out>.1``, ``<out>.2`` …; ``manifest.json`` is
    written last.

    Raises:
        InkstoneError: an input is missing or damaged, `out` is not a stage's folder or is in use, the disk is full …
    """
    out = Path(out)
    records, sources, fingerprint = identify(stage, config, inputs, out)
    if has_manifest(out):
        manifest = read_manifest(out)
        if manifest.fingerprint == fingerprint:
            verify_manifest(out, manifest, contents=False)
            return StageResult(manifest.summary, True, manifest.digest, manifest.duration_s)
    if not _goes_on(stage, config, records, sources, out):
        _make_room(out, fingerprint)
    return _run(stage, config, records, sources, fingerprint, out)


def is_complete(stage: Stage[C], config: C, inputs: Mapping[str, StrPath], out: StrPath) -> bool:
    """Whether `execute` with the same arguments would skip."""
    if not has_manifest(out):
        return False
    return read_manifest(out).fingerprint == identify(stage, config, inputs, Path(out))[2]


def has_unfinished_work(stage: Stage[C], config: C, inputs: Mapping[str, StrPath], out: StrPath) -> bool:
    """Whether `execute` with the same arguments would go on with earlier work in `out`."""
    out = Path(out)
    records, sources, fingerprint = identify(stage, config, inputs, out)
    if not has_manifest(out) and (out / STATE).is_file() and _unfinished_fingerprint(out) == fingerprint:
        return True
    return _goes_on(stage, config, records, sources, out)


def is_locked(folder: StrPath) -> bool:
    """Whether a process is writing `folder` right now."""
    if not Path(folder).is_dir():
        return False
    try:
        with _locked(Path(folder)):
            return False
    except InputError:
        return True


def identify(
    stage: Stage[C], config: C, inputs: Mapping[str, StrPath], out: Path
) -> tuple[dict[str, InputRecord], dict[str, SourceRecord], str]:
    """The digests of a stage's inputs and sources, and its fingerprint.

    Raises:
        ConfigError: an input is not given or is unknown.
    """
    for name in stage.inputs:
        if name not in inputs:
            raise ConfigError(f"the input {name!r} is not given", where=stage.name, remedy=f"give the folder of {name}")
    known = (*stage.inputs, *stage.optional_inputs)
    for name in inputs:
        if name not in known:
            raise ConfigError(f"unknown input {name!r}", where=stage.name, remedy=suggestion(name, known))
    records = {
        name: InputRecord(path=str(Path(path).resolve()), digest=digest_input(path)) for name, path in inputs.items()
    }
    paths = stage.sources(config) if stage.sources else ()
    sources = record_sources(paths, _known_sources(out))
    # Without defaults: a setting that is added leaves finished work valid; a changed default asks for a new version.
    settings = config.model_dump(mode="json", exclude_defaults=True)
    return records, sources, compute_fingerprint(stage.name, stage.version, settings, records, sources)


def _goes_on(
    stage: Stage[C],
    config: C,
    inputs: Mapping[str, InputRecord],
    sources: Mapping[str, SourceRecord],
    out: Path,
) -> bool:
    """Whether `out` holds work of other settings that `stage` can go on with under `config`."""
    if stage.extends is None:
        return False
    try:
        earlier = read_json(out / (MANIFEST if has_manifest(out) else STATE))
        done = stage.config.model_validate(earlier["config"])
        same = (
            (earlier["stage"], earlier["version"]) == (stage.name, stage.version)
            and {name: record["digest"] for name, record in earlier["inputs"].items()}
            == {name: record.digest for name, record in inputs.items()}
            and {path: record["sha256"] for path, record in earlier["sources"].items()}
            == {path: record.sha256 for path, record in sources.items()}
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return same and stage.extends(done, config)


def _known_sources(out: Path) -> Mapping[str, SourceRecord]:
    try:
        if has_manifest(out):
            return read_manifest(out).sources
        state = read_json(out / STATE)
        return {path: SourceRecord.model_validate(record) for path, record in state["sources"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _make_room(out: Path, fingerprint: str) -> None:
    """Leave at `out` nothing, an empty folder, or unfinished work of the same fingerprint."""
    if out.exists() and not out.is_dir():
        raise InputError("is a file, not a folder", where=out, remedy="choose another output folder")
    if not out.exists() or not any(out.iterdir()):
        return
    if not has_manifest(out) and not (out / STATE).is_file():
        raise InputError(
            "the folder is not empty and no stage wrote it", where=out, remedy="choose another output folder"
        )
    if has_manifest(out) or _unfinished_fingerprint(out) != fingerprint:
        if {path.name for path in out.iterdir()} <= {STATE, LOG}:
            with _locked(out):  # an attempt that failed before it made anything
                for name in (STATE, LOG):
                    (out / name).unlink(missing_ok=True)
            return
        number = 1
        while (aside := out.with_name(f"{out.name}.{number}")).exists():
            number += 1
        with _locked(out):
            out.rename(aside)
        say(f"{out} came from other settings or inputs; it is kept as {aside.name}")


def _unfinished_fingerprint(out: Path) -> str | None:
    try:
        return str(read_json(out / STATE)["fingerprint"])
    except (InputError, KeyError, TypeError):
        return None


def _run(
    stage: Stage[C],
    config: C,
    inputs: Mapping[str, InputRecord],
    sources: Mapping[str, SourceRecord],
    fingerprint: str,
    out: Path,
) -> StageResult:
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        with _locked(out):
            with tee(out / LOG), _logged_errors(out / LOG):
                _begin(stage, config, inputs, fingerprint, sources, started, out)
                summary = stage.run(config, {name: Path(record.path) for name, record in inputs.items()}, out)
            manifest = write_manifest(
                out,
                stage=stage.name,
                version=stage.version,
                fingerprint=fingerprint,
                config=config.model_dump(mode="json"),
                inputs=inputs,
                sources=sources,
                summary=summary,
                started=started,
                duration_s=time.monotonic() - clock,
            )
            (out / STATE).unlink()
    return StageResult(summary, False, manifest.digest, manifest.duration_s)


def _begin(
    stage: Stage[C],
    config: C,
    inputs: Mapping[str, InputRecord],
    fingerprint: str,
    sources: Mapping[str, SourceRecord],
    started: str,
    out: Path,
) -> None:
    """Leave a mark of what is being made, so that a later run can tell whether it may go on with it."""
    if (out / STATE).is_file() or has_manifest(out):
        say(f"{stage.name}: going on with the {'finished' if has_manifest(out) else 'unfinished'} work in {out}")
    remove_stale_temporaries(out)
    state = {
        "stage": stage.name,
        "version": stage.version,
        "fingerprint": fingerprint,
        "config": config.model_dump(mode="json"),
        "inputs": {name: record.model_dump() for name, record in inputs.items()},
        "started": started,
        "sources": {path: record.model_dump() for path, record in sources.items()},
    }
    write_json(out / STATE, state)
    (out / MANIFEST).unlink(missing_ok=True)


@contextlib.contextmanager
def _logged_errors(log: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise _out_of_memory(log.parent) from error
    except InkstoneError as error:
        _append(log, f"error: {error}")
        raise
    except Exception as error:
        _append(log, traceback.format_exc())
        if "can't allocate memory" in str(error) or type(error).__name__ == "OutOfMemoryError":
            raise _out_of_memory(log.parent) from error
        raise


def _out_of_memory(out: Path) -> ResourceError:
    return ResourceError(
        "out of memory", where=out, remedy="make the model, the batch or the context smaller, or close other programs"
    )


def _append(log: Path, text: str) -> None:
    with contextlib.suppress(OSError), open(log, "a", encoding="utf-8") as file:
        file.write(text.rstrip() + "\n")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process.

    Raises:
        InputError: another process is writing it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InputError(
            "another process is writing this folder", where=folder, remedy="wait for it, or choose another folder"
        ) from None
    finally:
        os.close(descriptor)
