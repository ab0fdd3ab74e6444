"""The manifest of a stage's folder: what made it, from which inputs, with which settings. Written last."""

import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from inkstone.core.config import Config, parse_config
from inkstone.core.errors import CheckpointError, ConfigError, InputError
from inkstone.core.files import StrPath, fsync_file, is_temporary, read_json, sha256_file, write_json

MANIFEST = "manifest.json"
STATE = "stage.json"
LOG = "log.txt"
LIBRARIES = ("inkstone", "torch", "tokenizers", "safetensors", "numpy", "pyarrow", "pydantic")


class InputRecord(Config):
    """A folder or file that a stage read."""

    path: str
    digest: str


class SourceRecord(Config):
    """A file outside of any stage's folder that a stage read."""

    size: int
    mtime_ns: int
    sha256: str


class OutputRecord(Config):
    """A file that a stage wrote."""

    size: int
    sha256: str


class Manifest(Config):
    """Everything needed to say where a folder comes from and whether it is whole."""

    stage: str
    version: int
    """Version of the stage's code; a new one makes earlier outputs stale."""
    fingerprint: str
    """SHA-256 over stage, version, configuration, input digests and source digests."""
    digest: str
    """SHA-256 over the outputs; what later stages record of this folder."""
    seed: int | None
    config: dict[str, Any]
    inputs: dict[str, InputRecord]
    sources: dict[str, SourceRecord]
    outputs: dict[str, OutputRecord]
    summary: dict[str, Any]
    versions: dict[str, str]
    git_revision: str | None
    machine: dict[str, Any]
    started: str
    duration_s: float


def write_manifest(
    folder: StrPath,
    *,
    stage: str,
    version: int,
    fingerprint: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, InputRecord],
    sources: Mapping[str, SourceRecord],
    summary: Mapping[str, Any],
    started: str,
    duration_s: float,
) -> Manifest:
    """Hash every file in `folder`, make sure that all are on the disk, and then write ``manifest.json``, atomically."""
    outputs = hash_outputs(folder)
    for name in outputs:
        fsync_file(Path(folder, name))
    seed = config.get("seed")
    manifest = Manifest(
        stage=stage,
        version=version,
        fingerprint=fingerprint,
        digest=digest_outputs(outputs),
        seed=seed if isinstance(seed, int) else None,
        config=dict(config),
        inputs=dict(inputs),
        sources=dict(sources),
        outputs=outputs,
        summary=dict(summary),
        versions=library_versions(),
        git_revision=git_revision(),
        machine=machine(),
        started=started,
        duration_s=round(duration_s, 3),
    )
    write_json(Path(folder, MANIFEST), manifest.model_dump(mode="json"))
    return manifest


def has_manifest(folder: StrPath) -> bool:
    """Whether `folder` is a finished stage's."""
    return Path(folder, MANIFEST).is_file()


def read_manifest(folder: StrPath) -> Manifest:
    """Read ``manifest.json``.

    Raises:
        CheckpointError: it is missing (the folder is unfinished) or malformed.
    """
    path = Path(folder, MANIFEST)
    if not path.is_file():
        raise CheckpointError(
            "no manifest.json: not the finished output of a stage",
            where=folder,
            remedy="run the command that writes this folder again; it goes on where it stopped",
        )
    try:
        return parse_config(Manifest, read_json(path), where=str(path))
    except (InputError, ConfigError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the manifest cannot be read: {str(error).splitlines()[0]}",
            where=path,
            remedy="move the folder away and run its stage again",
        ) from error


def verify_manifest(folder: StrPath, manifest: Manifest | None = None, *, contents: bool = True) -> Manifest:
    """Check that the files of `folder` are the ones its manifest describes.

    With `contents` the SHA-256 is compared too, otherwise only presence and size.

    Raises:
        CheckpointError: names the first file that is missing or differs.
    """
    manifest = manifest or read_manifest(folder)
    for name, output in manifest.outputs.items():
        path = Path(folder, name)
        if not path.is_file():
            raise _mismatch(path, "the manifest lists this file, but it is missing")
        size = path.stat().st_size
        if size != output.size:
            raise _mismatch(path, f"{size:,} bytes, but the manifest says {output.size:,}")
        if contents and sha256_file(path) != output.sha256:
            raise _mismatch(path, "its contents are not those the manifest describes")
    if digest_outputs(manifest.outputs) != manifest.digest:
        raise _mismatch(Path(folder, MANIFEST), "its digest does not match its own list of files")
    return manifest


def _mismatch(path: Path, cause: str) -> CheckpointError:
    return CheckpointError(
        cause, where=path, remedy="put the original file back, or move the folder away and run its stage again"
    )


def hash_outputs(folder: StrPath) -> dict[str, OutputRecord]:
    """Size and SHA-256 of every file below `folder` but the manifest, the stage's state and the log."""
    return {
        path.relative_to(folder).as_posix(): OutputRecord(size=path.stat().st_size, sha256=sha256_file(path))
        for path in _output_files(Path(folder))
    }


def digest_outputs(outputs: Mapping[str, OutputRecord]) -> str:
    """One SHA-256 for a set of files: their names and contents, in the order of the names."""
    lines = [f"{name}\0{output.sha256}\n" for name, output in sorted(outputs.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def digest_input(path: StrPath) -> str:
    """Digest of a stage's input: the manifest's for our own folders, computed for files and foreign folders.

    Raises:
        CheckpointError: the folder is one of ours and unfinished, or its files' sizes do not match its manifest.
        InputError: nothing is there.
    """
    path = Path(path)
    if path.is_file():
        return sha256_file(path)
    if not path.is_dir():
        raise InputError("no such file or folder", where=path, remedy="check the path, or run the stage that makes it")
    if has_manifest(path) or Path(path, STATE).is_file():
        return verify_manifest(path, contents=False).digest
    return digest_outputs(hash_outputs(path))


def record_sources(paths: Iterable[StrPath], known: Mapping[str, SourceRecord]) -> dict[str, SourceRecord]:
    """Size, time and SHA-256 of each source file; a hash in `known` is reused while size and time are the same."""
    records = {}
    for path in sorted({str(Path(path).resolve()) for path in paths}):
        try:
            stat = Path(path).stat()
            earlier = known.get(path)
            same = earlier and (earlier.size, earlier.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
            sha256 = earlier.sha256 if earlier and same else sha256_file(path)
        except OSError as error:
            raise InputError(
                error.strerror or str(error), where=path, remedy="check the path and its rights"
            ) from error
        records[path] = SourceRecord(size=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=sha256)
    return records


def compute_fingerprint(
    stage: str,
    version: int,
    config: Mapping[str, Any],
    inputs: Mapping[str, InputRecord],
    sources: Mapping[str, SourceRecord],
) -> str:
    """SHA-256 over everything that decides a stage's output; where its inputs lie does not count."""
    facts = {
        "stage": stage,
        "version": version,
        "config": config,
        "inputs": {name: record.digest for name, record in inputs.items()},
        "sources": {path: record.sha256 for path, record in sources.items()},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@functools.cache
def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change a result."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


@functools.cache
def git_revision() -> str | None:
    """The revision of the source tree that this package runs from; None for an installed package."""
    package = Path(__file__).parents[1]
    if "site-packages" in package.parts:
        return None
    try:
        result = subprocess.run(
            ["git", "-C", str(package), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


@functools.cache
def machine() -> dict[str, Any]:
    """The processor, its usable cores, the memory in bytes and the system; no name that identifies the owner."""
    import psutil

    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "processor": _processor(),
        "num_cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _output_files(folder: Path) -> Iterator[Path]:
    ours = {folder / MANIFEST, folder / STATE, folder / LOG}
    for path in sorted(folder.rglob("*")):
        hidden = any(is_temporary(part) for part in path.relative_to(folder).parts)
        if path.is_file() and path not in ours and not hidden:
            yield path
