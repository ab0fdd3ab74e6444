"""The stage `prepare`: from documents to a corpus."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from inkstone.core.config import Config
from inkstone.core.device import num_usable_cores
from inkstone.core.errors import ConfigError, InputError, ResourceError
from inkstone.core.files import atomic_file, read_json, write_json
from inkstone.core.progress import progress
from inkstone.core.stage import Summary, stage
from inkstone.data.card import CardBuilder, markdown
from inkstone.data.corpus import CorpusWriter, shard_paths
from inkstone.data.deduplicate import SeenTexts
from inkstone.data.filters.base import Drop
from inkstone.data.judge import (
    Dropped,
    Group,
    Judge,
    Judged,
    Task,
    judge_task,
    snippet,
    start_worker,
    tasks,
    without_text,
)
from inkstone.data.split import SplitRule, Splitter, source_lengths

STEPS = ("clean", "language", "filters", "deduplicate", "split")
"""What happens to a document, in this order. Language identification will replace the guess in `language`; removal of
personal data belongs after `filters`, near-duplicates after `deduplicate`."""
DEFAULT_FILTERS = ("length", "letters", "repetition", "long_lines")
PARALLEL_BYTES = 48_000_000
"""Below this much text, starting worker processes costs more than it saves."""

Threshold = bool | int | float | str | None


class PrepareConfig(Config):
    """How documents are cleaned, filtered, deduplicated and split."""

    clean: bool = True
    """Repair mojibake, odd Unicode, control characters and white space."""
    filters: dict[str, bool | dict[str, dict[str, Threshold]]] = Field(default_factory=dict)
    """Changes to the filters: `{length: {zh: {min_letters: 1}}}` sets a threshold for a language, `{letters: false}`
    turns a filter off, `{my_filter: true}` adds a plug-in."""
    deduplicate: bool = True
    """Drop documents whose text, white space aside, occurred before."""
    valid_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the documents that is held out for validation."""
    split_by: str = "text"
    """What decides, by its hash, whether a document is held out: `text`, `id`, `source`, or a column: `meta.book`."""
    valid_ids: tuple[str, ...] = ()
    """Ids of documents that are held out in any case."""
    valid_tail: float = Field(default=0, ge=0, lt=1)
    """Hold out the last fraction of every source file instead: for corpora of one or few files."""
    valid_tail_for: Literal["all", "texts"] = "all"
    """With `texts`, `valid_tail` is for files of running text, and records (JSONL, tables) are split by hash."""
    workers: int | None = Field(default=None, ge=1)
    """Processes that clean and filter; by default as many as cores when there is much to do. The result is the same."""

    def active_filters(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The filters to run, in order, each with its changed thresholds by language."""
        active: dict[str, dict[str, dict[str, Any]]] = {}
        for name in (*DEFAULT_FILTERS, *(name for name in self.filters if name not in DEFAULT_FILTERS)):
            setting = self.filters.get(name, True)
            if setting is not False:
                active[name] = {} if setting is True else setting
        return active

    def rule(self) -> SplitRule:
        """The settings of the split."""
        if self.split_by not in ("text", "id", "source") and not self.split_by.startswith("meta."):
            raise ConfigError(
                f"cannot split by {self.split_by!r}", where="split_by", remedy="use text, id, source, or meta.<column>"
            )
        ids = frozenset(self.valid_ids)
        return SplitRule(self.valid_fraction, self.split_by, ids, self.valid_tail, self.valid_tail_for)


def estimate(config: PrepareConfig, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Disk, memory and time from the size of the documents, where they exist already."""
    folder = _documents_folder(inputs["documents"]) if "documents" in inputs and inputs["documents"].is_dir() else None
    if folder is None:
        return {"memory_bytes": 600_000_000}
    total = sum(task.num_bytes for task in tasks(shard_paths(folder)))
    return {
        "disk_bytes": int(total * 0.45),
        "memory_bytes": 600_000_000 * _num_workers(config, total),
        "seconds": total / 20e6,
    }


@stage("prepare", inputs=("documents",), plan=estimate)
def prepare(config: PrepareConfig, inputs: Mapping[str, Path], out: Path) -> Summary:
    """Clean, filter, deduplicate and split documents into a corpus."""
    started = time.monotonic()
    folder = _documents_folder(inputs["documents"])
    rule = config.rule()
    splitter = Splitter(rule, source_lengths(folder) if rule.valid_tail else {})
    builder = CardBuilder()
    out.mkdir(parents=True, exist_ok=True)
    for stale in out.glob("seen.sqlite*"):
        stale.unlink()
    with SeenTexts(out / "seen.sqlite") as seen, CorpusWriter(out) as writer:
        for group in _groups(config, folder):
            builder.documents_in += len(group.judged)
            builder.bytes_in += group.num_bytes
            builder.changes += group.changes
            if config.deduplicate:
                group.judged = _without_duplicates(group.judged, seen)
            for judged in group.judged:
                _place(judged, splitter, writer, builder)
        collected = _collected(inputs["documents"])
        card = builder.as_dict(STEPS, config.model_dump(mode="json", exclude={"workers"}), collected)
        _check(card, builder, config, inputs["documents"])
    with atomic_file(out / "card.md", "w") as file:
        file.write(markdown(card))
    write_json(out / "card.json", card)
    return _summary(card, builder, time.monotonic() - started)


def _documents_folder(path: Path) -> Path:
    return path / "documents" if (path / "documents").is_dir() else path


def _collected(path: Path) -> dict[str, Any]:
    card = path / "card.json"
    return dict(read_json(card)) if card.is_file() else {}


def _num_workers(config: PrepareConfig, total_bytes: int) -> int:
    if config.workers is not None:
        return config.workers
    return min(num_usable_cores(), 16) if total_bytes >= PARALLEL_BYTES else 1


def _groups(config: PrepareConfig, folder: Path) -> Iterator[Group]:
    """Judged row groups, in order."""
    todo = list(tasks(shard_paths(folder)))
    total = sum(task.num_bytes for task in todo)
    workers = _num_workers(config, total)
    judge = Judge(config.clean, config.active_filters())  # also here: wrong settings are errors of this process
    with progress("prepare", total, "byte") as bar:
        documents = 0
        results = _in_processes(workers, todo, judge) if workers > 1 else map(judge.group, todo)
        for task, group in zip(todo, results, strict=True):
            yield group
            documents += len(group.judged)
            bar.update(task.num_bytes, documents=documents)


def _in_processes(workers: int, todo: list[Task], judge: Judge) -> Iterator[Group]:
    context = multiprocessing.get_context("spawn")
    settings = (judge.cleaning, judge.settings)
    pool = ProcessPoolExecutor(workers, context, start_worker, settings)
    try:
        yield from _ordered(lambda task: pool.submit(judge_task, task), todo, 2 * workers)
    except BrokenProcessPool as error:
        raise ResourceError(
            "a worker process died, most likely because memory ran out",
            where="prepare",
            remedy="set `workers: 1`, or close other programs",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ordered(submit: "Callable[[Task], Future[Group]]", todo: list[Task], window: int) -> Iterator[Group]:
    """Results in the order of the tasks, with at most `window` of them submitted or waiting."""
    rest = iter(todo)
    pending = [submit(task) for task in islice(rest, window)]
    while pending:
        yield pending.pop(0).result()
        pending.extend(submit(task) for task in islice(rest, 1))


def _without_duplicates(judged: list[Judged], seen: SeenTexts) -> list[Judged]:
    """The same documents, with those marked as dropped whose text was seen before."""
    kept = [one for one in judged if one.dropped is None]
    first_ids = iter(seen.first_ids([one.key for one in kept], [one.document.id for one in kept]))
    return [
        one if one.dropped is not None or (first := next(first_ids)) is None else _duplicate(one, first)
        for one in judged
    ]


def _duplicate(judged: Judged, first_id: str) -> Judged:
    drop = Drop("same text as an earlier document", f"same as {first_id}")
    dropped = Dropped("deduplicate", drop, snippet(judged.document.text))
    return replace(judged, document=without_text(judged.document), dropped=dropped)


def _place(judged: Judged, splitter: Splitter, writer: CorpusWriter, builder: CardBuilder) -> None:
    """Write a judged document to its split, or count it as dropped."""
    if judged.dropped is not None:
        builder.drop(judged.document, judged.dropped, judged.num_bytes)
        splitter.skip(judged.document, judged.raw_chars)
        return
    for document, split in splitter.assign(judged.document, judged.key, judged.raw_chars):
        writer.write(document, split)
        whole = document is judged.document
        builder.keep(document, split, judged.num_bytes if whole else len(document.text.encode()))


def _check(card: Mapping[str, Any], builder: CardBuilder, config: PrepareConfig, path: Path) -> None:
    if card["documents_in"] == 0:
        raise InputError("holds no documents", where=path, remedy="collect from files that hold text")
    if card["documents"] == 0:
        worst = builder.most_dropped()
        example = worst["examples"][0]
        raise InputError(
            f"every document was dropped; most ({worst['documents']:,} of {card['documents_in']:,}) by the filter "
            f"{worst['filter']!r}: {worst['reason']} (for example {example['id']}: {example['detail']})",
            where=path,
            remedy=f"change its thresholds, or turn it off with `--set prepare.filters.{worst['filter']}=false`",
        )
    wants_valid = config.valid_fraction > 0 or config.valid_tail > 0 or config.valid_ids
    for split, other in (("train", "valid"), ("valid", "train")):
        if card["splits"][split]["documents"] == 0 and (split == "train" or wants_valid):
            raise InputError(
                f"all {card['documents']:,} documents fell to {other}, none to {split}",
                where=path,
                remedy="with few documents, hold out the end of each file: `--set prepare.valid_tail=0.1`; or change "
                "`valid_fraction`, or cut the files with `--set collect.split=paragraphs`",
            )


def _summary(card: Mapping[str, Any], builder: CardBuilder, seconds: float) -> Summary:
    return {
        "documents": card["documents"],
        "dropped": builder.num_dropped,
        "bytes": card["bytes"],
        "train_documents": card["splits"]["train"]["documents"],
        "valid_documents": card["splits"]["valid"]["documents"],
        "train_bytes": card["splits"]["train"]["bytes"],
        "valid_bytes": card["splits"]["valid"]["bytes"],
        "mb_per_s": round(card["bytes_in"] / 1e6 / max(seconds, 1e-9), 1),
    }
