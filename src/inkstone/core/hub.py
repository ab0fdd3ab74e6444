"""Files of the Hugging Face hub, in the local cache of `huggingface_hub` (`HF_HOME`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from inkstone.core.errors import InkstoneError


def fetch(
    repository: str,
    revision: str | None,
    patterns: Sequence[str],
    *,
    kind: Literal["model", "dataset"],
    error: type[InkstoneError],
) -> Path:
    """Download the files that match `patterns`, once, and return their folder, which is named after the commit.

    Args:
        repository: `owner/name`.
        revision: a branch, tag or commit; the main branch where it is None.
        patterns: globs; `*` matches slashes too.
        kind: of repository.
        error: what is raised when there is no such repository, access is refused, or the hub cannot be reached and
            nothing is cached.
    """
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    noun = "data set" if kind == "dataset" else kind
    try:
        return Path(
            snapshot_download(repository, repo_type=kind, revision=revision or None, allow_patterns=list(patterns))
        )
    except GatedRepoError:
        cause = f"the hub asks you to accept this {noun}'s terms"
        remedy = "accept them on its page, then `hf auth login`"
    except (RepositoryNotFoundError, RevisionNotFoundError):
        cause, remedy = f"no such folder here and no such {noun} on the hub", "check the spelling, or give a folder"
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, httpx.TransportError):
        cause = "no such folder here, and the hub cannot be reached (and has not been read before)"
        remedy = "go online (unset HF_HUB_OFFLINE), or give a folder on this machine"
    except (HfHubHTTPError, OSError) as problem:
        cause, remedy = f"the download failed: {problem}", "try again later, or give a folder on this machine"
    raise error(cause, where=repository if revision is None else f"{repository}@{revision}", remedy=remedy)
