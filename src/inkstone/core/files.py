"""Files that are whole or absent: written under a temporary name, fsynced, then renamed."""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, overload

from inkstone.core.errors import InputError, ResourceError

StrPath = str | os.PathLike[str]

_TEMPORARY = re.compile(r"^\.(?P<name>.+)\.(?P<pid>\d+)-[0-9a-f]{8}\.(?P<kind>tmp|old)$")
_active: set[Path] = set()


@overload
def atomic_file(
    path: StrPath, mode: Literal["wb"] = "wb", encoding: str = "utf-8"
) -> contextlib.AbstractContextManager[IO[bytes]]: ...
@overload
def atomic_file(
    path: StrPath, mode: Literal["w"], encoding: str = "utf-8"
) -> contextlib.AbstractContextManager[IO[str]]: ...
def atomic_file(
    path: StrPath, mode: Literal["wb", "w"] = "wb", encoding: str = "utf-8"
) -> contextlib.AbstractContextManager[IO[Any]]:
    """Open a file that appears under `path` only when the block ends without an error.

    Raises:
        ResourceError: the disk is full; the earlier file, if any, is untouched.
    """
    return _atomic_file(Path(path), mode, None if mode == "wb" else encoding)


@contextlib.contextmanager
def _atomic_file(path: Path, mode: str, encoding: str | None) -> Iterator[IO[Any]]:
    with _temporary(path) as temporary:
        with open(temporary, mode, encoding=encoding, newline=None if encoding is None else "\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _fsync_folder(path.parent)


@contextlib.contextmanager
def atomic_folder(path: StrPath) -> Iterator[Path]:
    """Yield an empty sibling folder that takes the name `path` when the block ends without an error.

    A folder already at `path` is replaced in one step where the system can exchange names (Linux); elsewhere
    `remove_stale_temporaries` puts it back if the process dies between the two renames.

    Raises:
        ResourceError: the disk is full; the earlier folder, if any, is untouched.
    """
    path = Path(path)
    with _temporary(path) as temporary:
        temporary.mkdir()
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                fsync_file(Path(folder, name))
            _fsync_folder(Path(folder))
        _replace_folder(temporary, path)
        _fsync_folder(path.parent)


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_name(path, "tmp")
        _active.add(temporary)
        try:
            yield temporary
        finally:
            _remove(temporary)
            _active.discard(temporary)


def _temporary_name(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.{kind}")


def is_temporary(name: str) -> bool:
    """Whether a file name is one that `atomic_file` or `atomic_folder` uses while writing."""
    return _TEMPORARY.match(name) is not None


@contextlib.contextmanager
def disk_errors(path: StrPath) -> Iterator[None]:
    """Turn a full disk, whichever library notices it, into a ResourceError that names `path`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ResourceError) or not is_disk_full(error):
            raise
        raise ResourceError(
            f"the disk is full ({_free_space(Path(path))} free)",
            where=path,
            remedy="free some space or choose another folder, then run the same command again; it goes on from there",
        ) from error


def is_disk_full(error: BaseException) -> bool:
    """Whether `error`, or what it was raised from, says that no space (or quota) is left."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    if "No space left on device" in str(error) or "File too large (os error" in str(error):
        return True
    return error.__cause__ is not None and is_disk_full(error.__cause__)


def _free_space(path: Path) -> str:
    for folder in (path, *path.parents):
        if folder.exists():
            return f"{shutil.disk_usage(folder).free / 1e6:,.0f} MB"
    return "unknown space"


def sha256_file(path: StrPath) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def user_cache(name: str) -> Path:
    """Where what can be made again is kept between runs: a folder of the user's cache, which may not be there yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inkstone" / name


def write_json(path: StrPath, obj: object) -> None:
    """Write `obj` atomically as UTF-8 JSON, indented by two."""
    text = json.dumps(obj, indent=2, ensure_ascii=False)
    with atomic_file(path, "w") as file:
        file.write(text + "\n")


def read_json(path: StrPath) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing or malformed; names the line.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", where=path) from None
    except OSError as error:
        raise InputError(error.strerror or str(error), where=path) from None
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start})", where=path) from None
    except json.JSONDecodeError as error:
        raise InputError(f"malformed JSON: {error.msg}", where=f"{os.fspath(path)}:{error.lineno}") from None
    except RecursionError:
        raise InputError("malformed JSON: nested too deeply", where=path) from None
    except ValueError:  # of an integer with thousands of digits
        raise InputError("malformed JSON: a number that is too long", where=path) from None


def remove_stale_temporaries(folder: StrPath) -> None:
    """Remove what killed writers left in `folder` (not below it), sparing writers that are still alive."""
    folder = Path(folder)
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = _TEMPORARY.match(entry.name)
        if match is None or entry in _active or _other_process_alive(int(match["pid"])):
            continue
        target = entry.with_name(match["name"])
        if match["kind"] == "old" and not target.exists():
            os.rename(entry, target)
        else:
            _remove(entry)


def _other_process_alive(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _replace_folder(new: Path, path: Path) -> None:
    if not path.exists():
        os.rename(new, path)
    elif not _exchange(new, path):
        old = _temporary_name(path, "old")
        os.rename(path, old)
        os.rename(new, path)
        _remove(old)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step with renameat2(2); False where the system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    at_fdcwd, rename_exchange = -100, 2
    return bool(renameat2(at_fdcwd, os.fsencode(first), at_fdcwd, os.fsencode(second), rename_exchange) == 0)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def fsync_file(path: Path) -> None:
    """Wait until a file (or, on POSIX, a folder's list of names) is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fsync_folder(path: Path) -> None:
    if os.name == "posix":
        fsync_file(path)
