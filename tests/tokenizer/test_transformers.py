"""The same ids, text and chats as `transformers`, which reads the saved folder by its own code."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inkstone.core.errors import InputError
from inkstone.core.records import Message
from inkstone.tokenizer import Tokenizer
from tests.tokenizer.conftest import CHINESE, ENGLISH

transformers = pytest.importorskip("transformers")
PreTrained = Any

TEXTS = [
    ENGLISH, CHINESE, "", " ", "\n", "<|eos|>ink<|im_end|>", "  def f(x):\n\t\treturn x * 1234567\n\n\n",
    "🙂é\u0301 \x00\r\nقلم 한국어 ペン", "a<|im_start|> b <|bos|>", "x" * 3000 + "砚" * 3000,
]  # fmt: skip
CHAT = [Message("system", "Be brief.\n"), Message("user", " 砚台是什么? "), Message("assistant", "An inkstone.")]


def open_with_transformers(folder: Path, *, config: dict[str, Any] | None) -> PreTrained:
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return transformers.AutoTokenizer.from_pretrained(str(folder))


def assert_same(ours: Tokenizer, theirs: PreTrained) -> None:
    for text in TEXTS:
        ids = ours.encode(text)
        assert theirs(text).input_ids == ids
        assert theirs.decode(ids) == ours.decode(ids, skip_special_tokens=False)
        assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)
        assert theirs(text, add_special_tokens=False).input_ids == ours.encode_rendered(text)
    assert len(theirs) == len(ours)
    for part in ("bos", "eos", "pad", "unk"):
        assert getattr(theirs, f"{part}_token_id") == getattr(ours, f"{part}_id")


@pytest.mark.parametrize("kind", ["bpe", "characters"])
@pytest.mark.parametrize(
    "config", [None, {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, {"model_type": "gpt2"}]
)
def test_saved_folder_loads(
    kind: str, config: dict[str, Any] | None, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    ours: Tokenizer = request.getfixturevalue(kind)
    ours.save(tmp_path)
    theirs = open_with_transformers(tmp_path, config=config)
    assert_same(ours, theirs)
    assert_same(Tokenizer.load(tmp_path), theirs)
    assert set(theirs.all_special_tokens) == set(ours.special_tokens)


def test_folder_saved_by_transformers_loads_here(bpe: Tokenizer, tmp_path: Path) -> None:
    bpe.save(tmp_path / "ours")
    open_with_transformers(tmp_path / "ours", config={"model_type": "llama"}).save_pretrained(tmp_path / "theirs")
    again = Tokenizer.load(tmp_path / "theirs")
    assert [again.encode(text) for text in TEXTS] == [bpe.encode(text) for text in TEXTS]
    assert (again.special, again.chat_template) == (bpe.special, bpe.chat_template)


def test_the_class_name_is_known_to_both_major_versions(bpe: Tokenizer, tmp_path: Path) -> None:
    bpe.save(tmp_path)
    name = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))["tokenizer_class"]
    assert name == "PreTrainedTokenizerFast"  # exists in 4.x; in 5.x an alias of TokenizersBackend
    assert hasattr(transformers, name)


@pytest.mark.parametrize("add_generation_prompt", [False, True])
def test_chat_template(bpe: Tokenizer, tmp_path: Path, add_generation_prompt: bool) -> None:
    bpe.save(tmp_path)
    theirs = open_with_transformers(tmp_path, config=None)
    chat = [{"role": message.role, "content": message.content} for message in CHAT]
    rendered = bpe.apply_chat_template(CHAT, add_generation_prompt)
    assert rendered == theirs.apply_chat_template(chat, tokenize=False, add_generation_prompt=add_generation_prompt)
    ids = theirs.apply_chat_template(chat, add_generation_prompt=add_generation_prompt, return_dict=True).input_ids
    assert bpe.encode_rendered(rendered) == ids
    assert ids[0] == bpe.bos_id
    assert ids.count(bpe.bos_id) == 1


ELABORATE = """{%- for message in messages %}
    {%- if loop.index0 == 1 %}{% continue %}{% endif %}
    {%- if message.role not in ('system', 'user', 'assistant') %}{{ raise_exception('unknown role') }}{% endif %}
{{ message | tojson }}|{{ message['content'] | trim | upper }}
    {%- if message.role == 'assistant' %}{% generation %}{{ eos_token }}{% endgeneration %}{% endif %}
{%- endfor %}
{% if add_generation_prompt %}>{% endif %}
"""


def test_elaborate_template_renders_as_in_transformers(bpe: Tokenizer, tmp_path: Path) -> None:
    bpe.save(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(ELABORATE, encoding="utf-8")
    ours = Tokenizer.load(tmp_path)
    chat = [{"role": message.role, "content": message.content} for message in CHAT]
    theirs = open_with_transformers(tmp_path, config=None)
    assert ours.apply_chat_template(CHAT, True) == theirs.apply_chat_template(
        chat, tokenize=False, add_generation_prompt=True
    )
    with pytest.raises(InputError, match="unknown role"):
        ours.apply_chat_template([Message("wizard", "x")])


@pytest.mark.parametrize(
    "template", ["{% for", "{{ messages.append(1) }}", "{{ ''.__class__.__mro__ }}", "{{ nowhere.to_be.found }}"]
)
def test_harmful_or_broken_templates_are_refused(bpe: Tokenizer, template: str) -> None:
    broken = Tokenizer(bpe.backend, bpe.special, template)
    with pytest.raises(InputError, match="chat template cannot render"):
        broken.apply_chat_template(CHAT)


def test_no_template_is_one_clear_error(bpe: Tokenizer) -> None:
    with pytest.raises(InputError, match="no chat template"):
        Tokenizer(bpe.backend, bpe.special).apply_chat_template(CHAT)


def test_gpt2_files(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("weights/gpt2_tokenizer")
    ours = Tokenizer.load(folder)
    theirs = transformers.GPT2Tokenizer.from_pretrained(str(folder))
    for text in [*TEXTS, "<|endoftext|>ink"]:
        assert theirs(text).input_ids == ours.encode(text)
        assert theirs.decode(ours.encode(text)) == ours.decode(ours.encode(text), skip_special_tokens=False)
    assert ours.vocab_size == 50257
    assert ours.eos_id == 50256
    assert ours.encode("Hello world") == [15496, 995]
