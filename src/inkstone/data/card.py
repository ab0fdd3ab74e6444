"""The card of a corpus: what was kept, what was dropped and why, with examples; as JSON and as Markdown."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from inkstone.core.progress import size
from inkstone.core.records import Document
from inkstone.data.corpus import Split
from inkstone.data.judge import Dropped

EXAMPLES = 3
MAX_SOURCES = 100


class CardBuilder:
    """Counts documents while they pass."""

    def __init__(self) -> None:
        self.documents_in = 0
        self.bytes_in = 0
        self.changes: Counter[str] = Counter()
        self.languages: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.sources: dict[str, Counter[str]] = {}
        self.num_sources = 0
        self._last_source = ""
        self._splits: dict[str, Counter[str]] = {"train": Counter(), "valid": Counter()}
        self._dropped: dict[tuple[str, str], dict[str, Any]] = {}

    def keep(self, document: Document, split: Split, num_bytes: int) -> None:
        """Count a document of the corpus, of so many UTF-8 bytes."""
        for counts in (self._splits[split], self.languages[document.lang or "other"]):
            counts["documents"] += 1
            counts["bytes"] += num_bytes
        if (source := self._of_source(document)) is not None:
            source["kept"] += 1

    def drop(self, document: Document, dropped: Dropped, num_bytes: int) -> None:
        """Count a dropped document of so many UTF-8 bytes, with its reason."""
        key = (dropped.filter, dropped.drop.reason)
        if (entry := self._dropped.get(key)) is None:
            entry = {"filter": key[0], "reason": key[1], "documents": 0, "bytes": 0, "examples": []}
            self._dropped[key] = entry
        entry["documents"] += 1
        entry["bytes"] += num_bytes
        if len(entry["examples"]) < EXAMPLES:
            example = {"id": document.id, "lang": document.lang, "detail": dropped.drop.detail, "text": dropped.snippet}
            entry["examples"].append(example)
        if (source := self._of_source(document)) is not None:
            source["dropped"] += 1

    def _of_source(self, document: Document) -> Counter[str] | None:
        if document.source != self._last_source:
            self._last_source = document.source
            self.num_sources += 1
        if document.source not in self.sources:
            if len(self.sources) >= MAX_SOURCES:
                return None
            self.sources[document.source] = Counter(kept=0, dropped=0)
        return self.sources[document.source]

    @property
    def num_dropped(self) -> int:
        """Documents dropped by any filter or as duplicates."""
        return sum(entry["documents"] for entry in self._dropped.values())

    def most_dropped(self) -> dict[str, Any]:
        """The filter and reason that dropped most."""
        return max(self._dropped.values(), key=lambda entry: int(entry["documents"]))

    def as_dict(
        self, steps: tuple[str, ...], settings: Mapping[str, Any], collected: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The card."""
        dropped = sorted(self._dropped.values(), key=lambda entry: -int(entry["documents"]))
        kept = sum((counts for counts in self._splits.values()), Counter[str]())
        return {
            "documents_in": self.documents_in,
            "bytes_in": self.bytes_in,
            "documents": kept["documents"],
            "bytes": kept["bytes"],
            "splits": {name: {"documents": c["documents"], "bytes": c["bytes"]} for name, c in self._splits.items()},
            "languages": {
                name: dict(counts)
                for name, counts in sorted(self.languages.items(), key=lambda item: -item[1]["bytes"])
            },
            "num_sources": self.num_sources,
            "sources": {name: dict(counts) for name, counts in self.sources.items()},
            "encodings": collected.get("encodings", {}),
            "steps": list(steps),
            "changed_by_cleaning": dict(self.changes.most_common()),
            "dropped": dropped,
            "settings": dict(settings),
            "collected": {key: value for key, value in collected.items() if key != "sources"},
        }


def markdown(card: Mapping[str, Any]) -> str:
    """The card for people to read."""
    lines = [
        "# Corpus",
        "",
        f"{card['documents']:,} documents, {size(card['bytes'])} of text, from {card['documents_in']:,} documents, "
        + size(card["bytes_in"])
        + ".",
        "",
        *_table(
            ["split", "documents", "text"],
            [[n, f"{c['documents']:,}", size(c["bytes"])] for n, c in card["splits"].items()],
        ),
        *_table(
            ["language", "documents", "text"],
            [[n, f"{c['documents']:,}", size(c["bytes"])] for n, c in card["languages"].items()],
        ),
        "## Dropped",
        "",
    ]
    if not card["dropped"]:
        lines += ["Nothing.", ""]
    else:
        rows = [[e["filter"], e["reason"], f"{e['documents']:,}", size(e["bytes"])] for e in card["dropped"]]
        lines += _table(["filter", "reason", "documents", "text"], rows)
        for entry in card["dropped"]:
            lines += [f"### {entry['filter']}: {entry['reason']}", ""]
            lines += [f"- `{e['id']}` ({e['lang']}; {e['detail']}): {_escaped(e['text'])}" for e in entry["examples"]]
            lines.append("")
    changed = [[name, f"{count:,}"] for name, count in card["changed_by_cleaning"].items()]
    lines += ["## Changed by cleaning", "", *(_table(["step", "documents"], changed) if changed else ["Nothing.", ""])]
    rows = [[name, f"{c['kept']:,}", f"{c['dropped']:,}"] for name, c in card["sources"].items()]
    lines += ["## Sources", "", f"{card['num_sources']:,} in all.", "", *_table(["source", "kept", "dropped"], rows)]
    if card["encodings"]:
        lines += _table(["encoding", "files"], [[name, f"{count:,}"] for name, count in card["encodings"].items()])
    counts = card["collected"].get("counts", {})
    if counts:
        lines += [
            "## Left out or cut while collecting",
            "",
            *_table(["what", "number"], [[n, f"{c:,}"] for n, c in counts.items()]),
        ]
        lines += [*(f"- {_escaped(problem)}" for problem in card["collected"].get("problems", [])), ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    body = [f"| {' | '.join(_escaped(cell) for cell in row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *body, ""]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
