"""Where a model is: a folder here, or an id on the Hugging Face hub."""

import os
import re
from pathlib import Path

from inkstone.core.errors import CheckpointError
from inkstone.core.files import StrPath
from inkstone.core.hub import fetch

FILES = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model", "*.spm")
"""What is fetched: never pickles, never code."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?$")


def locate(path_or_id: StrPath, revision: str | None = None) -> Path:
    """The local folder of a model.

    Args:
        path_or_id: a folder, or a hub id `owner/name`, with `@revision` for a branch, tag or commit. A hub model
            is downloaded once and then read from the cache of `huggingface_hub` (`HF_HOME`), also without a network
            (`HF_HUB_OFFLINE=1` never asks for one).
        revision: of a hub model, instead of `@revision`. A commit's full hash pins the files for good.

    Raises:
        CheckpointError: no such folder, no such hub model, or the hub cannot be reached; or a revision of a folder.
    """
    path = Path(path_or_id).expanduser()
    name = os.fspath(path_or_id)
    if path.exists():
        if revision is not None:
            raise CheckpointError("a folder has no revisions", where=path, remedy="leave out the revision")
        return path
    if _HUB_ID.match(name) and not path.parent.exists():
        if revision is not None and "@" in name:
            raise CheckpointError("names two revisions", where=name, remedy="give only one")
        return download(name if revision is None else f"{name}@{revision}")
    raise CheckpointError(
        "no such model folder", where=path, remedy="check the path; a hub model is given as owner/name"
    )


def commit_of(folder: Path) -> str | None:
    """The commit that a folder of the hub's cache holds; None for other folders."""
    is_snapshot = folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name) is not None
    return folder.name if is_snapshot else None


def download(hub_id: str) -> Path:
    """Fetch a hub model (`owner/name` or `owner/name@revision`) into the local cache and return its folder.

    Raises:
        CheckpointError: no such model, access refused, or the hub cannot be reached and nothing is cached.
    """
    repository, _, revision = hub_id.partition("@")
    return fetch(repository, revision or None, FILES, kind="model", error=CheckpointError)
