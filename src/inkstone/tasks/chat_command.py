"""The command `inkstone chat`: a conversation in the terminal, or one answer in a pipe."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field

from inkstone.core.errors import ConfigError, InputError
from inkstone.core.progress import say
from inkstone.engine.config import EngineConfig
from inkstone.nn.sampling_params import SamplingParams
from inkstone.tasks.chat import Conversation

_HELP = "/new begins anew · /bye or Ctrl-D ends · a line that ends in \\ goes on in the next · Ctrl-C stops an answer"


class ChatSampling(SamplingParams):
    """How answers are drawn: a little more safely than completions."""

    max_new_tokens: int = Field(default=512, gt=0)
    """Longest answer, in tokens."""
    temperature: float = Field(default=0.7, ge=0)
    """0 takes the likeliest token every time; below 1 is safer, above 1 more surprising."""
    top_p: float | None = Field(default=0.95, gt=0, le=1)
    """Draw among the fewest likeliest tokens whose probabilities sum to this."""
    num_return_sequences: Annotated[int, Parameter(parse=False)] = Field(default=1, le=1)


_DEFAULTS = ChatSampling()
_DEFAULT_ENGINE = EngineConfig()


def command(
    model: str,
    message: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    system: str | None = None,
    sampling: Annotated[ChatSampling, Parameter(name="*")] = _DEFAULTS,
    engine: Annotated[EngineConfig, Parameter(name="*")] = _DEFAULT_ENGINE,
    device: str = "auto",
    dtype: str = "auto",
) -> None:
    """Talk with a model.

    Args:
        model: Model folder, such as runs/chat-small/dpo, or a Hugging Face hub id, owner/name.
        message: Answer this alone; what is piped in is put after it. Without either, a conversation begins.
        system: Instruction that stays at the beginning.
        sampling: How answers are drawn.
        engine: How the model is computed.
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: auto (as saved), float32, bfloat16 or float16.
    """
    single = _single_message(message)

    from inkstone.checkpoint import load_decoder

    decoder, tokenizer = load_decoder(model, device, dtype)
    conversation = Conversation(decoder, tokenizer, sampling.with_seed(), system, engine)
    if single is not None:
        _print_answer(conversation.ask(single))
        return
    print(f"{model}: {decoder.num_parameters():,} parameters, context {decoder.context:,}\n{_HELP}", file=sys.stderr)
    for text in _typed_messages():
        if text == "/new":
            conversation.forget()
            continue
        try:
            _print_answer(conversation.ask(text))
        except InputError as error:
            say(f"error: {error}")
        except KeyboardInterrupt:
            print()


def _single_message(message: str | None) -> str | None:
    """The message given on the command line and through a pipe, None where there is to be a conversation."""
    piped = None
    if not sys.stdin.isatty():
        try:
            piped = sys.stdin.read().removesuffix("\n")
        except UnicodeDecodeError as error:
            raise InputError(f"not UTF-8 text: {error}", where="standard input", remedy="convert it to UTF-8") from None
    parts = [part for part in (message, piped) if part]
    if not parts and (message is not None or piped is not None):
        raise ConfigError("the message is empty", where="message", remedy="write one, or pipe one in")
    return "\n\n".join(parts) if parts else None


def _typed_messages() -> Iterator[str]:
    """What is typed, message by message, until the end."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (gives input() editing and a history)
    while True:
        try:
            text = input("\n› ")
            while text.endswith("\\"):
                text = text[:-1] + "\n" + input("  ")
        except EOFError:
            print()
            return
        if text.strip() in ("/bye", "/exit", "/quit"):
            return
        if text.strip():
            yield text.strip()


def _print_answer(pieces: Iterator[str]) -> None:
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
