"""Let a model continue a text."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError, InputError
from inkstone.core.progress import say
from inkstone.nn.sampling_params import SamplingParams

if TYPE_CHECKING:
    from inkstone.nn.generate import Completion
    from inkstone.nn.models.base import Decoder
    from inkstone.tokenizer import Tokenizer


def complete(model: "Decoder", tokenizer: "Tokenizer", prompt: str, **sampling: Any) -> str:
    """Continue `prompt`; returns what comes after it.

    Args:
        model: a decoder.
        tokenizer: the model's own.
        prompt: text to continue.
        sampling: fields of `SamplingParams`.

    Raises:
        InputError: the prompt is empty or does not fit into the model's context.
        ConfigError: an unknown or senseless field of `sampling`.
    """
    return "".join(stream_complete(model, tokenizer, prompt, **sampling))


def stream_complete(model: "Decoder", tokenizer: "Tokenizer", prompt: str, **sampling: Any) -> Iterator[str]:
    """The same as `complete`, in pieces as they become certain; wrong arguments are refused before the first."""
    params = sampling_params(**sampling)
    if params.num_return_sequences != 1:
        raise ConfigError(
            "a stream has one completion", where="num_return_sequences", remedy="use complete_all for several"
        )
    return (piece for _, piece in _stream(model, tokenizer, prompt, params) if piece)


def complete_all(model: "Decoder", tokenizer: "Tokenizer", prompt: str, **sampling: Any) -> "list[Completion]":
    """Continue `prompt` `num_return_sequences` times: texts with token ids and why each ended."""
    params = sampling_params(**sampling)
    completions = {each.index: each for each, _ in _stream(model, tokenizer, prompt, params)}
    return [completions[index] for index in sorted(completions)]


def sampling_params(stop: str | Sequence[str] | None = None, **sampling: Any) -> SamplingParams:
    """`SamplingParams` from keywords; a single stop string need not be in a list.

    Raises:
        ConfigError: names the field, and the nearest known one.
    """
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    return parse_config(SamplingParams, {**sampling, "stop": stops}, where="sampling")


def encode_prompt(tokenizer: "Tokenizer", prompt: str) -> list[int]:
    """Token ids of a prompt, as `AutoTokenizer` of `transformers` gives them; says so when some text has no token."""
    prompt_ids = tokenizer.encode(prompt)
    if tokenizer.unk_id is not None and (num_unknown := prompt_ids.count(tokenizer.unk_id)):
        say(f"note: {num_unknown} of the prompt's {len(prompt_ids)} tokens are unknown to the model's tokenizer")
    return prompt_ids


def _stream(
    model: "Decoder", tokenizer: "Tokenizer", prompt: str, params: SamplingParams
) -> "Iterator[tuple[Completion, str]]":
    return stream_ids(model, tokenizer, encode_prompt(tokenizer, prompt), params)


def stream_ids(
    model: "Decoder", tokenizer: "Tokenizer", prompt_ids: Sequence[int], params: SamplingParams
) -> "Iterator[tuple[Completion, str]]":
    """Complete token ids up to the model's own stop tokens: each piece of text with the completion it continues.

    Says so when a completion ended because the context was full. Raises InputError when the prompt does not fit.
    """
    from inkstone.checkpoint.save import stop_ids
    from inkstone.nn.generate import stream

    pieces = stream(model, prompt_ids, params, stop_ids=stop_ids(tokenizer, model), decode=tokenizer.decode)
    return _saying_what_was_cut(pieces, model.context)


def _saying_what_was_cut(
    pieces: "Iterator[tuple[Completion, str]]", context: int
) -> "Iterator[tuple[Completion, str]]":
    num_cut = 0
    for completion, piece in pieces:
        num_cut += completion.finish_reason == "context"
        yield completion, piece
    if num_cut:
        which = "the completion" if num_cut == 1 else f"{num_cut} completions"
        say(f"note: {which} ended because the model's context of {context:,} tokens was full")


_DEFAULTS = SamplingParams()


def command(
    model: str,
    prompt: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    sampling: Annotated[SamplingParams, Parameter(name="*")] = _DEFAULTS,
    device: str = "auto",
    dtype: str = "auto",
    json: bool = False,
    no_stream: bool = False,
) -> None:
    """Let a model write.

    Args:
        model: Model folder, such as runs/quickstart/pretrain, or a Hugging Face hub id, owner/name.
        prompt: Text to continue; - or nothing reads it from standard input, without the last line break.
        sampling: How completions are drawn.
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: auto (as saved), float32, bfloat16 or float16.
        json: Print the completions with token counts and why they ended, as JSON.
        no_stream: Print the text when it is whole.
    """
    params = sampling.with_seed()
    text = _read_prompt(prompt)

    from inkstone.checkpoint import load_decoder

    decoder, tokenizer = load_decoder(model, device, dtype)
    pieces = _stream(decoder, tokenizer, text, params)
    if json:
        _print_json(text, params, pieces)
    elif params.num_return_sequences == 1 and not no_stream:
        for _, piece in pieces:
            print(piece, end="", flush=True)
        print()
    else:
        _print_whole(pieces)


def _read_prompt(prompt: str | None) -> str:
    if prompt is not None and prompt != "-":
        return prompt
    if prompt is None and sys.stdin.isatty():
        raise ConfigError("no prompt", where="prompt", remedy="write it after the model, or pipe it in")
    try:
        return sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text: {error}", where="standard input", remedy="convert it to UTF-8") from None


def _print_whole(pieces: "Iterator[tuple[Completion, str]]") -> None:
    completions = {completion.index: completion for completion, _ in pieces}
    for index in sorted(completions):
        if len(completions) > 1:
            print(f"[{index + 1}]")
        print(completions[index].text)


def _print_json(prompt: str, params: SamplingParams, pieces: "Iterator[tuple[Completion, str]]") -> None:
    from json import dumps

    started = time.perf_counter()
    completions = {completion.index: completion for completion, _ in pieces}
    rows = [
        {"text": each.text, "num_tokens": len(each.token_ids), "finish_reason": each.finish_reason}
        for _, each in sorted(completions.items())
    ]
    report = {
        "prompt": prompt,
        "completions": rows,
        "sampling": params.model_dump(mode="json"),
        "seconds": round(time.perf_counter() - started, 3),
    }
    print(dumps(report, indent=2, ensure_ascii=False))
