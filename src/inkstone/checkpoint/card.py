"""The model card: README.md of a model folder, front matter as the Hugging Face hub reads it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from inkstone.nn.models.base import Decoder, EncoderDecoder, Model, ModelConfig
from inkstone.nn.models.lstm import LstmForCausalLM
from inkstone.nn.models.masked_lm import MaskedLM
from inkstone.tokenizer import Tokenizer


def model_card(model: Model, tokenizer: Tokenizer, dtype: str, training: Mapping[str, Any] | None = None) -> str:
    """Markdown that says what the model is, how it was trained where that is known, and how to use it.

    Args:
        model: its config and number of parameters are told.
        tokenizer: the model's tokenizer.
        dtype: of the saved weights.
        training: name → value, one row of a table each; nested mappings are written as `name.key` rows.
    """
    facts = {
        "Family": model.config.model_type,
        "Parameters": f"{model.num_parameters():,}",
        **shape_rows(model.config),
        "Vocabulary": f"{tokenizer.vocab_size:,} tokens",
        "Weights": dtype,
    }
    kind = _kind(model)
    parts = [_front_matter(kind), "# Language model\n", _table(facts)]
    if training:
        parts += ["## Training\n", _table(_flatten(training))]
    parts += [_use(kind)]
    return "\n".join(parts)


def shape_rows(config: ModelConfig) -> dict[str, str]:
    """The rows of whatever sizes this family's config has, under the names that families share or their own."""
    sizes = {
        label: next((value for key in keys if isinstance(value := getattr(config, key, None), int)), None)
        for label, keys in _SIZES.items()
    }
    return {label: f"{value:,}" for label, value in sizes.items() if value is not None}


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


_SIZES = {
    "Layers": ("num_hidden_layers", "n_layer", "encoder_layers", "num_layers"),
    "Decoder layers": ("decoder_layers", "num_decoder_layers"),
    "Hidden size": ("hidden_size", "n_embd", "d_model"),
    "Attention heads": ("num_attention_heads", "n_head", "encoder_attention_heads", "num_heads"),
    "Key/value heads": ("num_key_value_heads",),
    "Experts": ("num_local_experts", "num_experts"),
    "Context (tokens)": ("max_position_embeddings", "n_positions"),
}


class _Kind(NamedTuple):
    """What is said of one kind of model."""

    pipeline_tag: str
    auto_class: str | None
    """The class of `transformers` that loads the folder; None where it has none."""
    call: str
    does: str


def _kind(model: Model) -> _Kind:
    if isinstance(model, EncoderDecoder):
        call = 'states = model.model.encode(torch.tensor([model.tokenizer.encode("Once upon a time")]))'
        return _Kind("text2text-generation", "AutoModelForSeq2SeqLM", call, "reads one text and writes another")
    if not isinstance(model, Decoder):
        call = 'states = model.model.hidden_states(torch.tensor([model.tokenizer.encode("Once upon a time")]))'
        if isinstance(model, MaskedLM):
            return _Kind("fill-mask", "AutoModelForMaskedLM", call, "finds hidden tokens of a text")
        return _Kind("feature-extraction", "AutoModel", call, "reads a text")
    auto_class = None if isinstance(model, LstmForCausalLM) else "AutoModelForCausalLM"
    return _Kind("text-generation", auto_class, 'print(model.generate("Once upon a time"))', "continues text")


def _front_matter(kind: _Kind) -> str:
    library = "transformers" if kind.auto_class else "inkstone"
    return f"---\nlibrary_name: {library}\npipeline_tag: {kind.pipeline_tag}\ntags:\n- inkstone\n---\n"


def _use(kind: _Kind) -> str:
    imports = "import inkstone" if "torch" not in kind.call else "import inkstone\nimport torch"
    loader = (
        f"`transformers.{kind.auto_class}.from_pretrained` loads it as well"
        if kind.auto_class
        else "`transformers` has no class for this family"
    )
    return f"""## Use

```python
{imports}

model = inkstone.load("path/to/this/folder")
{kind.call}
```

The folder is in the Hugging Face layout: {loader}.
The model {kind.does}. It was not taught to follow instructions or to tell what is true, and it repeats the
faults of the text it learned from.
"""
