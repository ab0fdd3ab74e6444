"""The model card: README.md of a model folder, front matter as the Hugging Face hub reads it."""

from collections.abc import Mapping
from typing import Any

from inkstone.nn.models.llama import LlamaConfig
from inkstone.tokenizer import Tokenizer


def model_card(config: LlamaConfig, tokenizer: Tokenizer, dtype: str, training: Mapping[str, Any] | None = None) -> str:
    """Markdown that says what the model is, how it was trained where that is known, and how to use it.

    Args:
        config: the model's shape.
        tokenizer: the model's tokenizer.
        dtype: of the saved weights.
        training: name → value, one row of a table each; nested mappings are written as `name.key` rows.
    """
    shape = {
        "Parameters": f"{config.num_parameters():,}",
        "Layers × hidden size": f"{config.num_hidden_layers} × {config.hidden_size}",
        "Attention heads (key/value)": f"{config.num_attention_heads} ({config.num_key_value_heads})",
        "Context": f"{config.max_position_embeddings:,} tokens",
        "Vocabulary": f"{tokenizer.vocab_size:,} tokens",
        "Weights": dtype,
    }
    parts = [_FRONT_MATTER, "# Language model\n", _table(shape)]
    if training:
        parts += ["## Training\n", _table(_flatten(training))]
    parts += [_USE]
    return "\n".join(parts)


def _table(rows: Mapping[str, object]) -> str:
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines, ""])


def _cell(value: object) -> str:
    text = f"{value:,.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    rows: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows |= _flatten(value, f"{prefix}{name}.")
        else:
            rows[f"{prefix}{name}"] = value
    return rows


_FRONT_MATTER = """---
library_name: transformers
pipeline_tag: text-generation
tags:
- inkstone
---
"""

_USE = """## Use

```python
import inkstone

model = inkstone.load("path/to/this/folder")
print(model.generate("Once upon a time"))
```

The folder is in the Hugging Face layout: `transformers.AutoModelForCausalLM.from_pretrained` loads it as well.
The model continues text. It was not taught to follow instructions or to tell what is true, and it repeats the
faults of the text it learned from.
"""
