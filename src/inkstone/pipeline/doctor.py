"""What this machine offers, what is missing, and what to do about it."""

import platform
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from inkstone.core.device import cpu_features, num_usable_cores, total_memory_bytes, tune_allocator
from inkstone.core.errors import InkstoneError
from inkstone.core.files import atomic_file
from inkstone.core.manifest import machine
from inkstone.core.progress import size
from inkstone.pipeline.show import print_json, print_table

REQUIRED = ("torch", "tokenizers", "safetensors", "pyarrow", "pydantic", "numpy")
OPTIONAL = {"transformers": "only for comparing with it", "tensorboard": "only for looking at training curves"}


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    state: str
    """``ok``, ``warn`` (works, but slower or with less) or ``missing`` (does not work)."""
    value: str
    advice: str = ""


def examine(folder: Path) -> list[Check]:
    """Look at the processor, compiler, memory, disk at `folder`, GPU and libraries."""
    checks: tuple[Callable[[], list[Check]], ...] = (
        _python,
        _processor,
        _compiler,
        _kernels,
        _memory,
        lambda: _disk(folder),
        _gpu,
        _libraries,
    )
    return [finding for check in checks for finding in check()]


def _python() -> list[Check]:
    value = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return [Check("Python", "ok", value)]


def _processor() -> list[Check]:
    facts, features, cores = machine(), cpu_features(), num_usable_cores()
    matrix = [name for name, flag in _UNITS.items() if flag in features]
    found = [Check("processor", "ok" if cores > 1 else "warn", f"{facts['processor']}, {cores} cores")]
    if cores == 1:
        found[0] = Check("processor", "warn", found[0].value, "give the process two cores or more")
    if {"amx_bf16", "bf16"} & features:
        found.append(Check("matrix units", "ok", ", ".join(matrix)))
    elif features:
        advice = "training runs in float32; a processor with AMX is several times faster"
        found.append(Check("matrix units", "warn", ", ".join(matrix) or "none", advice))
    else:
        found.append(Check("matrix units", "warn", "unknown", "this system does not name its processor's features"))
    allocator = tune_allocator()
    advice = "" if allocator else "large activations cost page faults; use Linux with glibc for full speed"
    found.append(Check("allocator", "ok" if allocator else "warn", "tuned" if allocator else "the system's", advice))
    return found


_UNITS = {
    "AVX2": "avx2",
    "AVX-512": "avx512f",
    "AVX512-VNNI": "avx512_vnni",
    "AVX512-BF16": "avx512_bf16",
    "AMX-BF16": "amx_bf16",
    "AMX-INT8": "amx_int8",
    "NEON": "asimd",
    "Arm BF16": "bf16",
    "Arm I8MM": "i8mm",
}


def _compiler() -> list[Check]:
    found = next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)
    if found is None:
        advice = "install one for faster training (Debian: apt install g++; macOS: xcode-select --install)"
        return [Check("C++ compiler", "warn", "none: training runs uncompiled", advice)]
    command = [found, "-x", "c++", "-fopenmp", f"-I{sysconfig.get_path('include')}", "-fsyntax-only", "-"]
    try:
        version_lines = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=20, check=True)
        result = subprocess.run(command, input=_PROBE, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return [Check("C++ compiler", "warn", f"{found} does not run: {error}", "install it again")]
    name = version_lines.stdout.partition("\n")[0]
    if result.returncode != 0:
        lost = next((header for header in ("Python.h", "omp.h") if header in result.stderr), "a header")
        advice = f"install {_HEADER_PACKAGES.get(lost, 'its headers')}; until then training runs uncompiled"
        return [Check("C++ compiler", "warn", f"{name}, but without {lost}", advice)]
    return [Check("C++ compiler", "ok", name)]


_PROBE = "#include <Python.h>\n#include <omp.h>\nint main() { return omp_get_max_threads(); }\n"
_HEADER_PACKAGES = {"Python.h": "python3-dev", "omp.h": "libomp-dev or libgomp"}


def _kernels() -> list[Check]:
    from inkstone.nn.kernels.llama_block import unavailable

    reason = unavailable()
    if reason is None:
        return [Check("own kernels", "ok", "built: Llama blocks train fused in float32")]
    return [Check("own kernels", "warn", reason, "training goes on without them, somewhat slower")]


def _memory() -> list[Check]:
    import psutil

    total, available = total_memory_bytes(), int(psutil.virtual_memory().available)
    value = f"{size(total)}, {size(min(total, available))} available"
    if available < 2e9:
        return [Check("memory", "warn", value, "close other programs; the quickstart needs about 2 GB")]
    return [Check("memory", "ok", value)]


def _disk(folder: Path) -> list[Check]:
    existing = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    value = f"{size(free)} free at {existing}"
    try:
        probe = existing / ".inkstone-doctor"
        with atomic_file(probe) as file:
            file.write(b"x")
        probe.unlink()
    except (OSError, InkstoneError) as error:
        return [Check("disk", "missing", f"{existing} cannot be written: {error}", "use a folder that you may write")]
    if free < 1e9:
        return [Check("disk", "warn", value, "free some space; the quickstart needs about 500 MB")]
    return [Check("disk", "ok", value)]


def _gpu() -> list[Check]:
    try:
        import torch
    except ImportError:
        return []
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        return [Check("GPU", "ok", ", ".join(f"{gpu.name} ({size(gpu.total_memory)})" for gpu in names))]
    if torch.backends.mps.is_available():
        return [Check("GPU", "ok", "Apple MPS")]
    if shutil.which("nvidia-smi"):
        return [Check("GPU", "warn", "present, but this torch cannot use it", "install a CUDA build of torch")]
    return [Check("GPU", "ok", "none: everything runs on the processor")]


def _libraries() -> list[Check]:
    found = [Check("inkstone", "ok", version("inkstone"))]
    for name in REQUIRED:
        try:
            found.append(Check(name, "ok", version(name)))
        except PackageNotFoundError:
            found.append(Check(name, "missing", "not installed", "install Inkstone again: pip install inkstone"))
    for name, purpose in OPTIONAL.items():
        try:
            found.append(Check(name, "ok", version(name)))
        except PackageNotFoundError:
            found.append(Check(name, "ok", "not installed", f"{purpose}: pip install {name}"))
    return found


def command(folder: Path = Path("runs"), /, *, json: bool = False) -> int:
    """Say what this machine offers, what is missing and what to do about it.

    Args:
        folder: Where runs will be written.
        json: Print the findings as JSON.
    """
    checks = examine(folder)
    missing = [check for check in checks if check.state == "missing"]
    if json:
        print_json([asdict(check) for check in checks])
    else:
        sign = {"ok": "✓", "warn": "!", "missing": "✗"}
        rows = [[f"{sign[check.state]} {check.name}", check.value, check.advice] for check in checks]
        print_table("This machine", ("check", "found", "what to do"), rows)
        print(f"{len(missing)} missing." if missing else "Ready. Start with: inkstone quickstart")
    return 4 if missing else 0
