"""Let a model continue a text."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from inkstone.core.config import parse_config
from inkstone.core.errors import ConfigError, InputError
from inkstone.core.progress import say
from inkstone.engine.config import EngineConfig
from inkstone.engine.form import Form
from inkstone.nn.sampling_params import SamplingParams
from inkstone.tasks.engines import compiled_form, engine_for
from inkstone.tasks.form_flags import FormFlags

if TYPE_CHECKING:
    from inkstone.engine.request import Output
    from inkstone.nn.models.base import Decoder
    from inkstone.tokenizer import Tokenizer

_DEFAULT_ENGINE = EngineConfig()


FormLike = Form | Mapping[str, Any] | None
"""What completions must look like: a `Form`, or its field as in `{"choice": ["yes", "no"]}`."""


def complete(model: "Decoder", tokenizer: "Tokenizer", prompt: str, *, form: FormLike = None, **sampling: Any) -> str:
    """Continue `prompt`; returns what comes after it.

    Args:
        model: a decoder.
        tokenizer: the model's own.
        prompt: text to continue.
        form: what the completion must look like.
        sampling: fields of `SamplingParams`.

    Raises:
        InputError: the prompt is empty or does not fit into the model's context.
        ConfigError: an unknown or senseless field of `sampling`.
    """
    return "".join(stream_complete(model, tokenizer, prompt, form=form, **sampling))


def stream_complete(
    model: "Decoder", tokenizer: "Tokenizer", prompt: str, *, form: FormLike = None, **sampling: Any
) -> Iterator[str]:
    """The same as `complete`, in pieces as they become certain; wrong arguments are refused before the first."""
    params = sampling_params(**sampling)
    if params.num_return_sequences != 1:
        raise ConfigError(
            "a stream has one completion", where="num_return_sequences", remedy="use complete_all for several"
        )
    return (output.text for output in _stream(model, tokenizer, prompt, params, form=form) if output.text)


def complete_all(
    model: "Decoder", tokenizer: "Tokenizer", prompt: str, *, form: FormLike = None, **sampling: Any
) -> "list[Output]":
    """Continue `prompt` `num_return_sequences` times: texts with token ids and why each ended."""
    return _whole(_stream(model, tokenizer, prompt, sampling_params(**sampling), form=form))


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
    model: "Decoder",
    tokenizer: "Tokenizer",
    prompt: str,
    params: SamplingParams,
    config: EngineConfig = _DEFAULT_ENGINE,
    form: FormLike = None,
) -> "Iterator[Output]":
    return stream_ids(model, tokenizer, encode_prompt(tokenizer, prompt), params, config, form)


def stream_ids(
    model: "Decoder",
    tokenizer: "Tokenizer",
    prompt_ids: Sequence[int],
    params: SamplingParams,
    config: EngineConfig = _DEFAULT_ENGINE,
    form: FormLike = None,
) -> "Iterator[Output]":
    """Complete token ids up to the model's own stop tokens: what is new of each completion, step by step.

    Says so when a completion ended because the context was full. Raises InputError when the prompt does not fit.
    """
    from inkstone.engine.offline import Stream
    from inkstone.engine.request import Request

    constraint = None
    if form is not None:
        whole = form if isinstance(form, Form) else parse_config(Form, form, where="form")
        constraint = compiled_form(model, tokenizer, whole)
    request = Request(prompt_ids, _with_bad_word_ids(params, tokenizer), constraint=constraint)
    outputs = Stream(engine_for(model, tokenizer, config), request)
    return _saying_what_was_cut(outputs, model.context)


def _with_bad_word_ids(params: SamplingParams, tokenizer: "Tokenizer") -> SamplingParams:
    if not params.bad_words:
        return params
    written = (tokenizer.encode_plain(before + word) for word in params.bad_words for before in ("", " "))
    ids = dict.fromkeys((*params.bad_words_ids, *(tuple(each) for each in written if each)))
    return params.model_copy(update={"bad_words": (), "bad_words_ids": tuple(ids)})


def _saying_what_was_cut(outputs: "Iterator[Output]", context: int) -> "Iterator[Output]":
    num_cut = 0
    for output in outputs:
        num_cut += output.finish_reason == "context"
        yield output
    if num_cut:
        which = "the completion" if num_cut == 1 else f"{num_cut} completions"
        say(f"note: {which} ended because the model's context of {context:,} tokens was full")


def _whole(outputs: "Iterable[Output]") -> "list[Output]":
    """The completions, each in one piece, in the order of their numbers."""
    from inkstone.engine.request import Output

    whole: dict[int, Output] = {}
    for output in outputs:
        whole.setdefault(output.index, Output(output.request_id, output.index)).extend(output)
    return [whole[index] for index in sorted(whole)]


_DEFAULTS = SamplingParams()
_FREE = FormFlags()


def command(
    model: str,
    prompt: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    sampling: Annotated[SamplingParams, Parameter(name="*")] = _DEFAULTS,
    form: Annotated[FormFlags, Parameter(name="*")] = _FREE,
    engine: Annotated[EngineConfig, Parameter(name="*")] = _DEFAULT_ENGINE,
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
        form: What they must look like.
        engine: How the model is computed.
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: auto (as saved), float32, bfloat16 or float16.
        json: Print the completions with token counts and why they ended, as JSON.
        no_stream: Print the text when it is whole.
    """
    params, wanted = sampling.with_seed(), form.form()
    text = _read_prompt(prompt)

    from inkstone.checkpoint import load_decoder

    decoder, tokenizer = load_decoder(model, device, dtype)
    outputs = _stream(decoder, tokenizer, text, params, engine, wanted)
    if json:
        _print_json(text, params, outputs)
    elif params.num_return_sequences == 1 and not no_stream:
        for output in outputs:
            print(output.text, end="", flush=True)
        print()
    else:
        _print_whole(_whole(outputs))


def _read_prompt(prompt: str | None) -> str:
    if prompt is not None and prompt != "-":
        return prompt
    if prompt is None and sys.stdin.isatty():
        raise ConfigError("no prompt", where="prompt", remedy="write it after the model, or pipe it in")
    try:
        return sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text: {error}", where="standard input", remedy="convert it to UTF-8") from None


def _print_whole(completions: "Sequence[Output]") -> None:
    for completion in completions:
        if len(completions) > 1:
            print(f"[{completion.index + 1}]")
        print(completion.text)


def _print_json(prompt: str, params: SamplingParams, outputs: "Iterator[Output]") -> None:
    from json import dumps

    started = time.perf_counter()
    rows = [_row(completion, params) for completion in _whole(outputs)]
    report = {
        "prompt": prompt,
        "completions": rows,
        "sampling": params.model_dump(mode="json"),
        "seconds": round(time.perf_counter() - started, 3),
    }
    print(dumps(report, indent=2, ensure_ascii=False))


def _row(completion: "Output", params: SamplingParams) -> dict[str, Any]:
    row: dict[str, Any] = {
        "text": completion.text,
        "num_tokens": len(completion.token_ids),
        "finish_reason": completion.finish_reason,
    }
    if completion.score is not None:
        row["score"] = completion.score
    if params.log_probabilities is not None:
        row["log_probabilities"] = [asdict(each) for each in completion.log_probabilities]
    if params.prompt_log_probabilities is not None:
        row["prompt_log_probabilities"] = [asdict(each) for each in completion.prompt_log_probabilities]
    return row
