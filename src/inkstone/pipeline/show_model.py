"""`inkstone show`: what a model folder or an adapter is."""

from collections.abc import Mapping
from typing import Any

from inkstone.core.progress import size
from inkstone.pipeline.show import number, print_json, print_table, value_text

_SHOWN_LABELS = 12


def command(path: str, /, *, revision: str | None = None, json: bool = False) -> None:
    """Say what a model folder or adapter is; its weights are not read.

    Args:
        path: Model folder, adapter folder, or a Hugging Face hub id, owner/name (which is fetched).
        revision: Branch, tag or commit of a hub model.
        json: Print the facts as JSON.
    """
    from inkstone.checkpoint.describe import describe
    from inkstone.checkpoint.hub import locate

    facts = describe(locate(path, revision))
    if json:
        print_json(facts)
    else:
        print_table(facts["path"], ("", ""), [list(row) for row in rows(facts)])


def rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The table of `describe`'s facts: name and value."""
    described = _adapter_rows(facts) if facts["kind"] == "adapter" else _model_rows(facts)
    return [(name, value) for name, value in (*described, *_lineage_rows(facts)) if value]


def _model_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    tokenizer, generation, labels = facts["tokenizer"], facts["generation"], facts["labels"]
    files = "1 file" if facts["files"] == 1 else f"{facts['files']} files"
    rows = [
        ("family", f"{facts['family']} ({facts['architecture']})"),
        ("parameters", f"{facts['parameters']:,}"),
        *((name[:1].lower() + name[1:], value) for name, value in facts["shape"].items()),
        ("weights", f"{facts['dtype']}, {size(facts['weights_bytes'])} in {files}"),
    ]
    if labels:
        more = f" … ({len(labels)})" if len(labels) > _SHOWN_LABELS else ""
        rows.append(("labels", ", ".join(labels[:_SHOWN_LABELS]) + more))
    if tokenizer is None:
        rows.append(("tokenizer", "none in this folder"))
    else:
        special = f"{len(tokenizer['special_tokens'])} special tokens"
        rows.append(("tokenizer", f"{tokenizer['kind']}, {number(tokenizer['vocabulary'])} tokens, {special}"))
        rows.append(("chat template", "yes" if tokenizer["chat_template"] else "none"))
    rows.append(("generation", ", ".join(f"{key} {value_text(key, value)}" for key, value in generation.items())))
    to_run, to_train = facts["memory_to_run_bytes"], facts["memory_to_train_bytes"]
    rows.append(("memory to run", f"{size(to_run)}, the cache of one full context included"))
    rows.append(("memory to train", f"{size(to_train)} and activations (AdamW, float32)"))
    return rows


def _adapter_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    targets = facts["targets"]
    return [
        ("adapter", f"{facts['method']}, rank {facts['rank']}, alpha {facts['alpha']}"),
        ("base model", str(facts["base"] or "not recorded")),
        ("layers", ", ".join(targets) if isinstance(targets, list) else str(targets or "")),
        ("parameters", f"{facts['parameters']:,}"),
        ("weights", f"{facts['dtype']}, {size(facts['weights_bytes'])}"),
    ]


def _lineage_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    if commit := facts.get("commit"):
        return [("hub commit", commit)]
    if facts["made_by"] is None:
        return [("made by", facts.get("manifest_problem") or "not by a stage of Inkstone: no manifest")]
    inputs = ", ".join(f"{name} {path}" for name, path in facts["made_from"].items())
    return [
        ("made by", f"{facts['made_by']} at {facts['made_at']}"),
        ("made from", inputs),
        ("digest", facts["digest"][:12]),
    ]
