"""Where a folder comes from: walk the manifests back to the sources and check every digest on the way."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from inkstone.core.errors import CheckpointError, InkstoneError, InputError
from inkstone.core.files import sha256_file
from inkstone.core.manifest import MANIFEST, Manifest, digest_input, has_manifest, read_manifest, verify_manifest
from inkstone.core.progress import duration, size
from inkstone.pipeline.show import cell_style, console, print_json

SHOWN_SOURCES = 8


@dataclass(frozen=True)
class Source:
    """A file that a stage read from outside."""

    path: str
    size: int
    problem: str | None = None
    """None when its contents are still those that were read."""


@dataclass(frozen=True)
class Artifact:
    """A folder or file, how it was made, and what it was made from."""

    path: str
    stage: str | None
    """None for what no stage of ours wrote."""
    digest: str
    input_name: str | None = None
    problem: str | None = None
    """None when its files are those of its manifest and the reader's record of it."""
    started: str | None = None
    seconds: float | None = None
    seed: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    git_revision: str | None = None
    inputs: tuple["Artifact", ...] = ()
    sources: tuple[Source, ...] = ()

    def problems(self) -> Iterator[str]:
        """Everything that does not match, here and below."""
        if self.problem:
            yield f"{self.path}: {self.problem}"
        yield from (f"{source.path}: {source.problem}" for source in self.sources if source.problem)
        for child in self.inputs:
            yield from child.problems()


def trace(path: Path) -> Artifact:
    """The artifact at `path` (or the one that the file at `path` belongs to) with all its ancestors.

    Raises:
        InputError: nothing is there, or no stage wrote it.
    """
    if not path.exists():
        raise InputError("no such file or folder", where=path, remedy="see: inkstone runs")
    absolute = path.resolve()
    folder = next((parent for parent in (absolute, *absolute.parents) if has_manifest(parent)), None)
    if folder is None:
        raise InputError(
            "no stage wrote this: there is no manifest here or above", where=path, remedy="see: inkstone runs"
        )
    return _trace_folder(folder, None, None, {})


def _trace_folder(folder: Path, name: str | None, expected: str | None, seen: dict[Path, str | None]) -> Artifact:
    try:
        manifest = read_manifest(folder)
    except CheckpointError as error:
        return Artifact(str(folder), None, expected or "", name, problem=error.cause)
    if folder not in seen:
        seen[folder] = _check(folder, manifest)
    problem = seen[folder]
    if expected is not None and manifest.digest != expected:
        problem = "it was made again since: its digest is not the one that was read"
    return Artifact(
        path=str(folder),
        stage=manifest.stage,
        digest=manifest.digest,
        input_name=name,
        problem=problem,
        started=manifest.started,
        seconds=manifest.duration_s,
        seed=manifest.seed,
        config=manifest.config,
        versions=manifest.versions,
        git_revision=manifest.git_revision,
        inputs=tuple(
            _trace_input(folder, key, record.path, record.digest, seen) for key, record in manifest.inputs.items()
        ),
        sources=tuple(_check_source(key, record.size, record.sha256) for key, record in manifest.sources.items()),
    )


def _trace_input(folder: Path, name: str, path: str, digest: str, seen: dict[Path, str | None]) -> Artifact:
    found = locate(folder, Path(path), digest)
    if found is None:
        return Artifact(path, None, digest, name, problem="missing")
    if has_manifest(found):
        return _trace_folder(found, name, digest, seen)
    try:
        changed = digest_input(found) != digest
    except InkstoneError as error:
        return Artifact(str(found), None, digest, name, problem=error.cause)
    return Artifact(
        str(found), None, digest, name, problem="its contents changed since they were read" if changed else None
    )


def locate(reader: Path, path: Path, digest: str) -> Path | None:
    """The input at `path`; or beside its reader when the run's folder was moved; or where it was kept aside."""
    candidates = [path, reader.parent / path.name]
    kept = [aside for place in candidates for aside in sorted(place.parent.glob(f"{place.name}.*"))]
    for candidate in [*candidates, *kept]:
        if has_manifest(candidate) and _digest(candidate) == digest:
            return candidate
    return next((candidate for candidate in candidates if candidate.exists()), None)


def _digest(folder: Path) -> str | None:
    try:
        return read_manifest(folder).digest
    except CheckpointError:
        return None


def _check(folder: Path, manifest: Manifest) -> str | None:
    try:
        verify_manifest(folder, manifest)
    except CheckpointError as error:
        place = Path(error.where or MANIFEST)
        return f"{place.name}: {error.cause}"
    return None


def _check_source(path: str, num_bytes: int, sha256: str) -> Source:
    try:
        problem = None if sha256_file(path) == sha256 else "changed since it was read"
    except OSError:
        problem = "missing"
    return Source(path, num_bytes, problem)


def command(path: Path, /, *, json: bool = False) -> None:
    """Show what made a folder, back to the sources, and check every digest.

    Args:
        path: A stage's folder, or any file in one.
        json: Print the tree as JSON.
    """
    artifact = trace(path)
    if json:
        print_json(asdict(artifact))
    else:
        _print(artifact)
    problems = list(artifact.problems())
    if problems:
        raise CheckpointError(
            f"{len(problems)} of the digests on the way do not match; the first: {problems[0]}",
            where=path,
            remedy="put the original back, or run the recipe again",
        )
    if not json:
        print("Every digest matches.")


def _print(artifact: Artifact) -> None:
    from rich.tree import Tree

    tree = Tree(_label(artifact), guide_style="dim")
    _grow(tree, artifact)
    console().print(tree)


def _grow(tree: Any, artifact: Artifact) -> None:
    from rich.text import Text

    for child in artifact.inputs:
        _grow(tree.add(_label(child)), child)
    changed = [source for source in artifact.sources if source.problem]
    intact = [source for source in artifact.sources if not source.problem]
    if len(intact) > SHOWN_SOURCES:
        total = size(sum(source.size for source in intact))
        tree.add(Text(f"✓ {len(intact):,} source files, {total}, all as they were read", style="green"))
        intact = []
    for source in [*changed[:SHOWN_SOURCES], *intact]:
        mark = f"✗ {source.path}: {source.problem}" if source.problem else f"✓ {source.path}  {size(source.size)}"
        tree.add(Text(mark, style=cell_style(mark)))
    if len(changed) > SHOWN_SOURCES:
        tree.add(Text(f"✗ and {len(changed) - SHOWN_SOURCES:,} more source files", style="red"))


def _label(artifact: Artifact) -> Any:
    from rich.text import Text

    mark = ("✗ ", "red") if artifact.problem else ("✓ ", "green")
    name = f"{artifact.input_name}: " if artifact.input_name else ""
    facts = [artifact.stage or "not made by a stage", artifact.digest[:12]]
    if artifact.seed is not None:
        facts.append(f"seed {artifact.seed}")
    if artifact.started and artifact.seconds is not None:
        facts.append(f"{artifact.started.partition('+')[0].replace('T', ' ')} in {duration(artifact.seconds)}")
    text = Text.assemble(mark, name, (_display_path(artifact.path), "bold"), ("  " + " · ".join(facts), "dim"))
    return text.append(f"  {artifact.problem}", style="red") if artifact.problem else text


def _display_path(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
