"""What `finetune.py` teaches: the shape of the model, and examples in the lengths of Alpaca."""

import random
from typing import Any, NamedTuple

import torch

LENGTHS = (
    (42, 5), (38, 15), (38, 17), (46, 11), (53, 6), (48, 13), (38, 25), (55, 10),
    (39, 29), (56, 15), (43, 30), (63, 13), (57, 23), (35, 48), (41, 48), (69, 24),
    (40, 58), (72, 32), (46, 62), (41, 71), (46, 72), (61, 62), (43, 84), (38, 96),
    (98, 43), (44, 104), (47, 109), (42, 122), (41, 135), (40, 150), (47, 172), (57, 241),
)  # fmt: skip
"""Tokens of prompt and answer of 32 rows of Alpaca (English): every 1/32 of the rows in the order of their length."""
NUM_STEPS = 8
"""After so many steps the examples repeat."""
EOS = 1
LORA_RANK = 16
NUM_PROMPTS, GROUP_SIZE, NEW_TOKENS = 4, 8, 48
"""Of a step that learns from rewards; every completion has as many tokens as it may."""
KL_COEFFICIENT = 0.01
REWARDED = "(w\\d+ )*w\\d*[0-4]"
"""Completions with the reward 1: about half of them."""


class Shape(NamedTuple):
    """The model of a job."""

    num_layers: int
    width: int
    num_heads: int
    vocab_size: int = 32_000
    context: int = 512


class Row(NamedTuple):
    """An example, as ids."""

    prompt: list[int]
    answer: list[int]


class Pair(NamedTuple):
    """A prompt with two answers, as ids."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


def llama_keys(shape: Shape) -> dict[str, Any]:
    """The model's config, under the names that `transformers` shares."""
    return {
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.width,
        "intermediate_size": 4 * shape.width * 2 // 3 // 32 * 32,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_heads,
        "head_dim": shape.width // shape.num_heads,
        "max_position_embeddings": shape.context,
        "tie_word_embeddings": True,
    }


def rows(shape: Shape, *, by_length: bool = False) -> list[Row]:
    """The examples of all steps: every step has every length once, in an order of its own or from short to long."""
    found = []
    for step in range(NUM_STEPS):
        for prompt, answer in _of_step(step, LENGTHS, by_length=by_length):
            ids = _random_ids(len(found), prompt + answer - 1, shape)
            found.append(Row(ids[:prompt], [*ids[prompt:], EOS]))
    return found


def pairs(shape: Shape, *, by_length: bool = False) -> list[Pair]:
    """As `rows`: a prompt with the answers of two rows that follow each other in `LENGTHS`."""
    lengths = [(prompt, first, second) for (prompt, first), (_, second) in zip(*_halves(LENGTHS), strict=True)]
    found = []
    for step in range(NUM_STEPS):
        for prompt, first, second in _of_step(step, lengths, by_length=by_length):
            ids = _random_ids(len(found), prompt + first + second - 2, shape)
            answers = [*ids[prompt : prompt + first - 1], EOS], [*ids[prompt + first - 1 :], EOS]
            found.append(Pair(ids[:prompt], *answers))
    return found


def prompts(shape: Shape) -> list[list[int]]:
    """Prompts alone, in an order that has nothing to do with their length."""
    return [row.prompt for row in rows(shape)]


def words(ids: list[int]) -> str:
    """A text that `word_backend` turns back into `ids`."""
    return "".join(f" w{token}" for token in ids)


def word_backend(shape: Shape) -> Any:
    """A tokenizer with one word for every id."""
    import tokenizers

    vocabulary = {"<pad>": 0, "<eos>": EOS, "<unk>": 2} | {f"w{token}": token for token in range(3, shape.vocab_size)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return backend


def _halves(lengths: Any) -> tuple[Any, Any]:
    return lengths[::2], lengths[1::2]


def _of_step(step: int, lengths: Any, *, by_length: bool) -> list[Any]:
    """`LENGTHS` is from short to long already."""
    ordered = list(lengths)
    if not by_length:
        random.Random(step).shuffle(ordered)
    return ordered


def _random_ids(number: int, count: int, shape: Shape) -> list[int]:
    """Token ids that depend on nothing but `number`."""
    generator = torch.Generator().manual_seed(number)
    return torch.randint(3, shape.vocab_size, (count,), generator=generator).tolist()
