"""Write the lock files: the exact versions of what pyproject.toml asks for, as installed in the Python that runs this.

The dependency tree is walked from pyproject.toml with the markers of this machine; builds are named without their local
suffix (``torch==2.13.0``, never ``2.13.0+cpu``), so that every machine takes the build made for it.
"""

import argparse
import re
import sys
import tomllib
from importlib.metadata import distribution, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {"requirements.lock": (), "requirements-dev.lock": ("dev", "docs", "bench", "engine", "evaluate")}
# What a CUDA build of torch brings along depends on the machine and is left to torch itself.
LEFT_OUT = re.compile(r"^(nvidia-.*|cuda-.*|triton|pip|setuptools|wheel)$")


def closure(requirements: list[str]) -> dict[str, str]:
    """Name and version of everything that the given requirements install on this machine."""
    seen: set[tuple[str, frozenset[str]]] = set()
    pins: dict[str, str] = {}
    queue = [Requirement(text) for text in requirements]
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key in seen or LEFT_OUT.match(name):
            continue
        seen.add(key)
        pins[name] = version(name).split("+")[0]
        for text in distribution(name).requires or []:
            child = Requirement(text)
            extras = requirement.extras or {""}
            if child.marker is None or any(child.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                queue.append(child)
    return pins


def lock_text(name: str) -> str:
    """The content of the lock file of this name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = list(project["dependencies"])
    for extra in LOCKS[name]:
        requirements += project["optional-dependencies"][extra]
    header = "# Written by `make lock`. Install torch's line first, alone: nothing else may choose its build.\n"
    return header + "".join(f"{package}=={pin}\n" for package, pin in sorted(closure(requirements).items()))


def main() -> int:
    """Write the lock files, or with --check say which of them would change."""
    parser = argparse.ArgumentParser(description="write requirements.lock and requirements-dev.lock")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file would change")
    check = parser.parse_args().check
    stale = [
        name for name in LOCKS if not (ROOT / name).exists() or (ROOT / name).read_text("utf-8") != lock_text(name)
    ]
    for name in stale:
        if check:
            sys.stderr.write(f"{name} differs from the installed packages; run `make lock`\n")
        else:
            (ROOT / name).write_text(lock_text(name), encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
