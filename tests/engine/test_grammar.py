"""Forms: what comes out has the form, whatever the model would rather say."""

import json
import re
from typing import Any

import jsonschema
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inkstone.core.errors import ConfigError
from inkstone.engine.engine import Engine
from inkstone.engine.form import Form
from inkstone.engine.grammar import Grammars
from inkstone.engine.native_runner import NativeRunner
from inkstone.engine.request import Request
from inkstone.engine.runner import Runner
from inkstone.engine.speculate import PromptLookup
from inkstone.engine.torch_runner import TorchRunner
from inkstone.nn.kernels.decoder_step import unavailable
from inkstone.nn.sampling_params import SamplingParams
from tests.tiny_models import tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
EOS = TOKENIZER.eos_id
assert EOS is not None
MODEL = tiny_model(max_position_embeddings=1024)
GRAMMARS = Grammars(TOKENIZER, MODEL.config.vocab_size, [EOS])


def new_runner() -> Runner:
    if unavailable():
        return TorchRunner(MODEL, 2000)
    return NativeRunner(MODEL, "float32", 2000, 1, kept="float32")


def write(forms: list[Form], temperature: float = 1.5, speculate: bool = False) -> list[str]:
    """One completion of each form, all in one batch."""
    engine = Engine(
        new_runner(), stop_ids=[EOS], decode=TOKENIZER.decode, drafter=PromptLookup(2, 1) if speculate else None
    )
    numbers = {}
    for place, form in enumerate(forms):
        params = SamplingParams(max_new_tokens=900, temperature=temperature, seed=place)
        prompt = TOKENIZER.encode(f"Write {place}: ")
        numbers[engine.add_request(Request(prompt, params, constraint=GRAMMARS.compile(form)))] = place
    texts = [""] * len(forms)
    while engine.has_work:
        for output in engine.step():
            texts[numbers[output.request_id]] += output.text
            assert output.finish_reason in (None, "eos")
    return texts


names = st.sampled_from(["name", "age", "墨", "a b", "é", "x_1"])


def schemas(depth: int = 2) -> st.SearchStrategy[dict[str, Any]]:
    """Random JSON Schemas whose documents are short."""
    leaves = st.one_of(
        st.just({"type": "boolean"}),
        st.just({"type": "null"}),
        st.tuples(st.integers(-50, 50), st.integers(0, 100)).map(
            lambda ends: {"type": "integer", "minimum": ends[0], "maximum": ends[0] + ends[1]}
        ),
        st.tuples(st.integers(0, 3), st.integers(0, 4)).map(
            lambda ends: {"type": "string", "minLength": ends[0], "maxLength": ends[0] + ends[1]}
        ),
        st.lists(st.one_of(st.integers(-9, 9), st.text(max_size=3), st.booleans()), min_size=1, max_size=4).map(
            lambda values: {"enum": values}
        ),
        st.just({"type": "string", "pattern": "^[a-c]{1,3}$"}),
        st.just({"type": "string", "format": "date"}),
    )
    if depth == 0:
        return leaves
    inner = schemas(depth - 1)
    objects = st.dictionaries(names, inner, max_size=3).flatmap(
        lambda properties: (
            st.lists(st.sampled_from(sorted(properties)), unique=True).map(
                lambda required: {
                    "type": "object",
                    "properties": properties,
                    "required": required,
                    "additionalProperties": False,
                }
            )
            if properties
            else st.just({"type": "object", "additionalProperties": False})
        )
    )
    arrays = st.tuples(inner, st.integers(0, 2), st.integers(0, 2)).map(
        lambda parts: {"type": "array", "items": parts[0], "minItems": parts[1], "maxItems": parts[1] + parts[2]}
    )
    return st.one_of(leaves, objects, arrays, st.lists(inner, min_size=1, max_size=2).map(lambda some: {"anyOf": some}))


@settings(max_examples=50)
@given(some=st.lists(schemas(), min_size=10, max_size=10), speculate=st.booleans())
def test_random_schemas_give_valid_documents_at_a_high_temperature_in_a_batch(
    some: list[dict[str, Any]], speculate: bool
) -> None:
    for schema, text in zip(
        some, write([Form(json_schema=schema) for schema in some], speculate=speculate), strict=True
    ):
        jsonschema.validate(json.loads(text), schema, format_checker=jsonschema.FormatChecker())


def test_other_forms() -> None:
    pattern = r"[A-Z][a-z]{2,5} \d{4}年"
    texts = write(
        [
            Form(regex=pattern),
            Form(choice=("yes", "no", '墨 "quoted"')),
            Form(grammar='start: word ("+" word)~2\nword: /[ab]{1,2}/'),
            *[Form(choice=("left", "right"))] * 12,
        ]
    )
    assert re.fullmatch(pattern, texts[0])
    assert texts[1] in ("yes", "no", '墨 "quoted"')
    assert re.fullmatch(r"[ab]{1,2}(\+[ab]{1,2}){2}", texts[2])
    assert set(texts[3:]) == {"left", "right"}


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (Form(regex="(unclosed"), "regex"),
        (Form(regex=r"(?=a)b"), "regex"),
        (Form(grammar="start: missing"), "grammar"),
        (Form(json_schema={"type": "strin"}), "json_schema"),
        (Form(json_schema={"type": "array", "uniqueItems": True}), "json_schema"),
        (Form(json_schema={"not": {"type": "null"}}), "json_schema"),
        (Form(json_schema={"type": "string", "format": "who-knows"}), "json_schema"),
        (Form(json_schema={"$ref": "https://example.com/schema"}), "json_schema"),
        (Form(json_schema=deep(80)), "nested deeper"),
        (Form(regex="a" * 300_000), "characters"),
    ],
)
def test_what_cannot_be_enforced_is_refused(form: Form, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GRAMMARS.compile(form)


def test_a_form_is_one_thing() -> None:
    with pytest.raises(ValueError, match="give one of"):
        Form(regex="a", choice=("b",))
    with pytest.raises(ValueError, match="give one of"):
        Form()


def test_the_mask_after_drafts_is_that_of_the_text_with_them() -> None:
    form = Form(regex="(ab|ba){3}")
    drafts = TOKENIZER.encode_plain("a")
    ahead, behind = (GRAMMARS.compile(form).matcher() for _ in range(2))
    for token in drafts:
        behind.accept(token)
    logits = torch.zeros(MODEL.config.vocab_size)
    assert torch.equal(ahead.mask(logits, drafts), behind.mask(logits))
    assert not torch.equal(ahead.mask(logits), behind.mask(logits))
