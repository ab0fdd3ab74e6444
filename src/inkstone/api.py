"""Inkstone from Python: `inkstone.load` and the model object it returns, one thin method per task."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from inkstone.core.errors import InputError
from inkstone.core.files import StrPath
from inkstone.tasks.answer import Answer, answer
from inkstone.tasks.chat import chat
from inkstone.tasks.classify import Classification, classify
from inkstone.tasks.embed import embed
from inkstone.tasks.extract import ExtractedSpan, extract
from inkstone.tasks.generate import FormLike, complete_all, stream_complete
from inkstone.tasks.score import Score, score
from inkstone.tasks.translate import translate

if TYPE_CHECKING:
    import numpy as np

    from inkstone.checkpoint.sentence import SentenceConfig
    from inkstone.nn.models.base import Decoder, Model
    from inkstone.tokenizer import Tokenizer
    from inkstone.tokenizer.chat import ChatMessage


def load(path: StrPath, *, device: str = "auto", dtype: str = "auto") -> "LanguageModel":
    """Load a model folder, such as `runs/quickstart/pretrain`, or a Hugging Face hub model, `owner/name`.

    Args:
        path: folder or hub id.
        device: `auto`, `cpu`, `cuda`, `mps` …
        dtype: `auto` (as saved), `float32`, `bfloat16` or `float16`.

    Raises:
        CheckpointError: the folder is missing, unfinished, damaged or of an unsupported kind.
    """
    from inkstone.checkpoint import load_checkpoint
    from inkstone.checkpoint.hub import locate
    from inkstone.checkpoint.sentence import read_sentence_config

    folder = locate(path)
    return LanguageModel(*load_checkpoint(folder, device, dtype), read_sentence_config(folder))


class LanguageModel:
    """A model with its tokenizer.

    Attributes:
        model: the PyTorch module.
        tokenizer: the tokenizer it was trained with.
        sentence: how it makes a vector of a text, where its folder says so (as sentence-transformers writes it).
    """

    def __init__(self, model: "Model", tokenizer: "Tokenizer", sentence: "SentenceConfig | None" = None) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.sentence = sentence

    @overload
    def generate(
        self, prompt: str, *, form: FormLike = None, num_return_sequences: Literal[1] = 1, **sampling: Any
    ) -> str: ...
    @overload
    def generate(
        self, prompt: str, *, form: FormLike = None, num_return_sequences: int, **sampling: Any
    ) -> str | list[str]: ...
    def generate(
        self, prompt: str, *, form: FormLike = None, num_return_sequences: int = 1, **sampling: Any
    ) -> str | list[str]:
        """Continue `prompt`; returns what comes after it, in a list when more than one completion is asked for.

        Args:
            prompt: text to continue.
            form: what completions must look like: one of `json_schema`, `regex`, `choice` and `grammar`, as in
                `{"choice": ["yes", "no"]}`; see `inkstone.engine.form.Form`.
            num_return_sequences: number of completions.
            sampling: `max_new_tokens`, `temperature`, `top_k`, `top_p`, `min_p`, `repetition_penalty`, `seed`,
                `stop`: the fields of `inkstone.nn.sampling_params.SamplingParams`.

        Raises:
            InputError: the prompt is empty or does not fit into the model's context.
            ConfigError: an unknown or senseless field.
        """
        completions = complete_all(
            self._decoder(), self.tokenizer, prompt, form=form, num_return_sequences=num_return_sequences, **sampling
        )
        texts = [completion.text for completion in completions]
        return texts if num_return_sequences > 1 else texts[0]

    def stream(self, prompt: str, *, form: FormLike = None, **sampling: Any) -> Iterator[str]:
        """The same text as `generate` gives, in pieces, each as soon as it is certain."""
        return stream_complete(self._decoder(), self.tokenizer, prompt, form=form, **sampling)

    def chat(self, messages: "str | Sequence[ChatMessage]", *, form: FormLike = None, **sampling: Any) -> str:
        """What the assistant says to a user's message, or after a conversation of several.

        Args:
            messages: a text, or messages with `role` and `content`, the last of them the user's.
            form: what the answer must look like, as in `generate`.
            sampling: as in `generate`.

        Raises:
            InputError: the model has no chat template, or the conversation does not fit into its context.
            ConfigError: an unknown or senseless field.
        """
        turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        return chat(self._decoder(), self.tokenizer, turns, form=form, **sampling)

    def score(self, text: str, *, window: int | None = None) -> Score:
        """How likely the model finds `text`: `.logprob` is the summed natural-log probability after the first token.

        Args:
            text: at most the model's context long, unless `window` is given.
            window: score a longer text in overlapping windows of so many tokens.

        Raises:
            InputError: the text is longer than the model's context and no `window` is given.
        """
        return score(self._decoder(), self.tokenizer, text, window=window)

    def embed(
        self, texts: Sequence[str], *, prompt_name: str | None = None, truncate: bool = False
    ) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
        """A vector for each text, (N, C): texts of like meaning have vectors of like direction.

        A model of sentence-transformers pools and normalizes as its folder says; any other encoder gives the mean
        over a text's tokens, any other decoder its last token's state.

        Args:
            texts: at most the model's context long each, or its own `max_seq_length`.
            prompt_name: a prompt of the model to put before every text, such as `query`, where it has some.
            truncate: keep the beginning of a text that is too long, and warn of how many there were.

        Raises:
            InputError: a text has no tokens, or is too long and `truncate` is not given; or the model cannot do it.
            ConfigError: the model has no prompt of that name.
        """
        return embed(
            self.model, self.tokenizer, texts, config=self.sentence, prompt_name=prompt_name, truncate=truncate
        )

    def classify(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, truncate: bool = False
    ) -> list[Classification]:
        """What each text is: `.label` and `.probabilities`, for a model that was taught classes or numbers.

        Args:
            texts: at most the model's context long each.
            pairs: the second texts, for a model that was taught pairs.
            truncate: keep the beginning of a text that is too long, and warn of how many there were.

        Raises:
            InputError: a text has no tokens, or is too long and `truncate` is not given; or the model was not taught.
        """
        return classify(self.model, self.tokenizer, texts, pairs, truncate=truncate)

    def extract(self, texts: Sequence[str], *, truncate: bool = False) -> list[list[ExtractedSpan]]:
        """What is named in each text: spans with `.text`, `.start`, `.end`, `.label` and `.score`, in their order.

        Args:
            texts: at most the model's context long each.
            truncate: keep the beginning of a text that is too long, and warn of how many there were.

        Raises:
            InputError: a text has no tokens, or is too long and `truncate` is not given; or the model was not taught.
        """
        return extract(self.model, self.tokenizer, texts, truncate=truncate)

    def answer(
        self, question: str, context: str, *, null_threshold: float | None = None, truncate: bool = False
    ) -> Answer:
        """The part of `context` that answers `question`: `.text`, `.start`, `.end` and `.score`.

        Args:
            question: may take half of the model's context.
            context: of any length.
            null_threshold: give no answer, an empty text, where that is likelier by more than this (natural
                logarithm of the odds; 0 is the even point); by default always give one.
            truncate: cut a question that is too long, and warn.

        Raises:
            InputError: the question is too long and `truncate` is not given, or one has no tokens; or the model was
                not taught.
        """
        return answer(self.model, self.tokenizer, question, context, null_threshold=null_threshold, truncate=truncate)

    @overload
    def translate(self, texts: str, *, truncate: bool = False, **search: Any) -> str: ...
    @overload
    def translate(self, texts: Sequence[str], *, truncate: bool = False, **search: Any) -> list[str]: ...
    def translate(self, texts: str | Sequence[str], *, truncate: bool = False, **search: Any) -> str | list[str]:
        """The translation of a text, or of each of several, for a model that was taught pairs of texts.

        Args:
            texts: at most the model's context long each.
            truncate: keep the beginning of a text that is too long, and warn of how many there were.
            search: `num_beams`, `max_new_tokens`, `length_penalty` …: the fields of `inkstone.nn.beam.BeamParams`;
                greedy unless the model's generation_config.json says otherwise.

        Raises:
            InputError: a text has no tokens, or is too long and `truncate` is not given; or the model writes no text.
            ConfigError: an unknown or senseless field of `search`.
        """
        return translate(self.model, self.tokenizer, texts, truncate=truncate, **search)

    @overload
    def summarize(self, texts: str, *, truncate: bool = False, **search: Any) -> str: ...
    @overload
    def summarize(self, texts: Sequence[str], *, truncate: bool = False, **search: Any) -> list[str]: ...
    def summarize(self, texts: str | Sequence[str], *, truncate: bool = False, **search: Any) -> str | list[str]:
        """The summary of a text, or of each of several, for a model that was taught summaries: see `translate`."""
        return translate(self.model, self.tokenizer, texts, truncate=truncate, **search)

    def _decoder(self) -> "Decoder":
        """The model, where it continues text."""
        from inkstone.nn.models.base import Decoder

        if not isinstance(self.model, Decoder):
            raise InputError(
                f"a {self.model.config.model_type} model ({type(self.model).__name__}) does not continue text",
                remedy="use a decoder, such as a llama, qwen3 or gpt2 model",
            )
        return self.model

    def __repr__(self) -> str:
        return f"LanguageModel({self.model.num_parameters():,} parameters, context {self.model.context:,})"
