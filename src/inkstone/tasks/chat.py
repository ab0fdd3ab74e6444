"""Talk with a model: its own chat template, its own stop tokens."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from inkstone.core.errors import ConfigError, InputError
from inkstone.core.progress import say
from inkstone.engine.config import EngineConfig
from inkstone.nn.sampling_params import SamplingParams
from inkstone.tasks.generate import FormLike, sampling_params, stream_ids

if TYPE_CHECKING:
    from inkstone.nn.models.base import Decoder
    from inkstone.tokenizer import Tokenizer
    from inkstone.tokenizer.chat import ChatMessage

_DEFAULT_ENGINE = EngineConfig()


def chat(
    model: "Decoder",
    tokenizer: "Tokenizer",
    messages: "Sequence[ChatMessage]",
    *,
    form: FormLike = None,
    **sampling: Any,
) -> str:
    """What the assistant says after `messages`.

    Args:
        model: a decoder.
        tokenizer: the model's own, with a chat template.
        messages: the conversation, which a user's turn ends.
        form: what the answer must look like.
        sampling: fields of `SamplingParams`.

    Raises:
        InputError: there is no chat template, or the conversation does not fit into the model's context.
        ConfigError: an unknown or senseless field of `sampling`.
    """
    return "".join(stream_chat(model, tokenizer, messages, form=form, **sampling))


def stream_chat(
    model: "Decoder",
    tokenizer: "Tokenizer",
    messages: "Sequence[ChatMessage]",
    *,
    form: FormLike = None,
    **sampling: Any,
) -> Iterator[str]:
    """The same as `chat`, in pieces as they become certain; wrong arguments are refused before the first."""
    params = sampling_params(**sampling)
    if params.num_return_sequences != 1:
        raise ConfigError("a chat has one answer", where="num_return_sequences", remedy="ask several times")
    return _stream(model, tokenizer, _prompt_ids(tokenizer, messages), params, form=form)


class Conversation:
    """A chat that goes on: what was said is kept, and the oldest turns are let go when the context is full.

    Args:
        model: a decoder.
        tokenizer: the model's own, with a chat template.
        params: how answers are drawn; with a seed, the same questions get the same answers.
        system: instruction that stays at the beginning.
        config: how the model is computed.
    """

    def __init__(
        self,
        model: "Decoder",
        tokenizer: "Tokenizer",
        params: SamplingParams,
        system: str | None = None,
        config: EngineConfig = _DEFAULT_ENGINE,
    ) -> None:
        self._model, self._tokenizer, self._params, self._config = model, tokenizer, params, config
        self._beginning = [{"role": "system", "content": system}] if system else []
        self.turns: list[dict[str, str]] = []
        """What user and assistant said, as far as the model still sees it."""

    def ask(self, text: str) -> Iterator[str]:
        """The answer to `text`, in pieces; both become part of the conversation when the last one is read.

        Raises:
            InputError: `text` alone does not fit into the model's context.
        """
        question = {"role": "user", "content": text}
        prompt_ids = self._fitting([*self.turns, question])
        answer = ""
        for piece in _stream(self._model, self._tokenizer, prompt_ids, self._params, self._config):
            answer += piece
            yield piece
        self.turns += [question, {"role": "assistant", "content": answer}]

    def forget(self) -> None:
        """Begin anew, with the same system message."""
        self.turns.clear()

    def _fitting(self, turns: list[dict[str, str]]) -> list[int]:
        """Ids of the conversation without as many of its oldest exchanges as have no room beside an answer."""
        room = self._model.context - min(self._params.max_new_tokens, self._model.context // 2)
        prompt_ids = _prompt_ids(self._tokenizer, [*self._beginning, *turns])
        num_dropped = 0
        while len(prompt_ids) > room and len(turns) > num_dropped + 1:
            num_dropped += 2
            prompt_ids = _prompt_ids(self._tokenizer, [*self._beginning, *turns[num_dropped:]])
        if len(prompt_ids) >= self._model.context:
            raise InputError(
                f"the message has {len(prompt_ids):,} tokens, the model's context is {self._model.context:,}",
                remedy="shorten it",
            )
        if num_dropped:
            say(f"note: the oldest {num_dropped} messages are forgotten, the context is full")
            del self.turns[:num_dropped]
        return prompt_ids


def _prompt_ids(tokenizer: "Tokenizer", messages: "Sequence[ChatMessage]") -> list[int]:
    return tokenizer.encode_rendered(tokenizer.apply_chat_template(messages, add_generation_prompt=True))


def _stream(
    model: "Decoder",
    tokenizer: "Tokenizer",
    prompt_ids: list[int],
    params: SamplingParams,
    config: EngineConfig = _DEFAULT_ENGINE,
    form: FormLike = None,
) -> Iterator[str]:
    return (output.text for output in stream_ids(model, tokenizer, prompt_ids, params, config, form) if output.text)
