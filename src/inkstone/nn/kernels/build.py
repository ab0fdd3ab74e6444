"""Native code, compiled at first use into the user's cache."""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from inkstone.core.files import user_cache

_FLAGS = (
    "-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-fopenmp", "-fno-math-errno", "-fno-trapping-math",
)  # fmt: skip
_LONGEST_BUILD_SECONDS = 120


def load_library(name: str) -> ctypes.CDLL | None:
    """The library made of `<name>.cpp` in this folder; None where it cannot be built or loaded (see `why_not`)."""
    outcome = _outcome(name)
    return outcome if isinstance(outcome, ctypes.CDLL) else None


def why_not(name: str) -> str | None:
    """Why a library is missing, with the remedy; None if it is there."""
    outcome = _outcome(name)
    return outcome if isinstance(outcome, str) else None


@functools.cache
def _outcome(name: str) -> ctypes.CDLL | str:
    compiler = shutil.which(os.environ.get("CXX", "")) or shutil.which("g++") or shutil.which("clang++")
    if platform.system() != "Linux":
        return f"not yet built on {platform.system()}"
    if compiler is None:
        return "no C++ compiler was found (install g++ or clang)"
    source = Path(__file__).with_name(f"{name}.cpp")
    library = user_cache("kernels") / f"{name}-{_digest(source, compiler)}.so"
    try:
        if not library.is_file():
            _build(compiler, source, library)
        return ctypes.CDLL(str(library))
    except subprocess.CalledProcessError as error:
        return f"{compiler} failed: {error.stderr.strip().partition(chr(10))[0]}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)


def _build(compiler: str, source: Path, library: Path) -> None:
    """Compile into a folder of this process's own, then move: builds at the same time do not meet."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        command = [compiler, *_FLAGS, str(source), "-o", str(made)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_LONGEST_BUILD_SECONDS)
        made.replace(library)


def _digest(source: Path, compiler: str) -> str:
    """Changes with whatever changes the machine code: sources, flags, compiler and processor."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    processor = next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
    headers = [header.read_text() for header in sorted(source.parent.glob("*.h"))]
    parts = [source.read_text(), *headers, " ".join(_FLAGS), compiler, version, processor]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
