"""Inkstone from Python: `inkstone.load` and the model object it returns, one thin method per task."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

from inkstone.core.files import StrPath
from inkstone.tasks.generate import complete_all, stream_complete
from inkstone.tasks.score import Score, score

if TYPE_CHECKING:
    from inkstone.nn.models.base import Decoder
    from inkstone.tokenizer import Tokenizer


def load(path: StrPath, *, device: str = "auto", dtype: str = "auto") -> "LanguageModel":
    """Load a model folder, such as `runs/quickstart/pretrain`, or a Hugging Face hub model, `owner/name`.

    Args:
        path: folder or hub id.
        device: `auto`, `cpu`, `cuda`, `mps` …
        dtype: `auto` (as saved), `float32`, `bfloat16` or `float16`.

    Raises:
        CheckpointError: the folder is missing, unfinished, damaged or of an unsupported kind.
    """
    from inkstone.checkpoint import load_decoder

    return LanguageModel(*load_decoder(path, device, dtype))


class LanguageModel:
    """A model with its tokenizer.

    Attributes:
        model: the PyTorch module.
        tokenizer: the tokenizer it was trained with.
    """

    def __init__(self, model: "Decoder", tokenizer: "Tokenizer") -> None:
        self.model = model
        self.tokenizer = tokenizer

    @overload
    def generate(self, prompt: str, *, num_return_sequences: Literal[1] = 1, **sampling: Any) -> str: ...
    @overload
    def generate(self, prompt: str, *, num_return_sequences: int, **sampling: Any) -> str | list[str]: ...
    def generate(self, prompt: str, *, num_return_sequences: int = 1, **sampling: Any) -> str | list[str]:
        """Continue `prompt`; returns what comes after it, in a list when more than one completion is asked for.

        Args:
            prompt: text to continue.
            num_return_sequences: number of completions.
            sampling: `max_new_tokens`, `temperature`, `top_k`, `top_p`, `min_p`, `repetition_penalty`, `seed`,
                `stop`: the fields of `inkstone.nn.sampling.SamplingParams`.

        Raises:
            InputError: the prompt is empty or does not fit into the model's context.
            ConfigError: an unknown or senseless field.
        """
        completions = complete_all(
            self.model, self.tokenizer, prompt, num_return_sequences=num_return_sequences, **sampling
        )
        texts = [completion.text for completion in completions]
        return texts if num_return_sequences > 1 else texts[0]

    def stream(self, prompt: str, **sampling: Any) -> Iterator[str]:
        """The same text as `generate` gives, in pieces, each as soon as it is certain."""
        return stream_complete(self.model, self.tokenizer, prompt, **sampling)

    def score(self, text: str, *, window: int | None = None) -> Score:
        """How likely the model finds `text`: `.logprob` is the summed natural-log probability after the first token.

        Args:
            text: at most the model's context long, unless `window` is given.
            window: score a longer text in overlapping windows of so many tokens.

        Raises:
            InputError: the text is longer than the model's context and no `window` is given.
        """
        return score(self.model, self.tokenizer, text, window=window)

    def __repr__(self) -> str:
        return f"LanguageModel({self.model.num_parameters():,} parameters, context {self.model.context:,})"
