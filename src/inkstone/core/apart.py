"""Work in a process of its own, in which nothing else has left traces: to measure memory and time."""

import json
import os
import subprocess
import sys
from typing import Any


class ApartError(Exception):
    """The process ended with an error; says which."""


def run_apart(module: str, job: Any) -> Any:
    """What a module writes when it is run as a program.

    Args:
        module: reads JSON from stdin, and writes JSON as its last line to stdout.
        job: that JSON.

    Raises:
        ApartError: it failed.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "KINETO_LOG_LEVEL": "99"}
    command = [sys.executable, "-m", module]
    done = subprocess.run(command, input=json.dumps(job), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        causes = [line for line in done.stderr.splitlines() if line and not line.startswith(" ")]
        raise ApartError(causes[-1] if causes else f"the process was ended by signal {-done.returncode}")
    return json.loads(done.stdout.strip().rpartition("\n")[2])
