"""Teaching in small: some of the examples."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inkstone.checkpoint import load_model, save_checkpoint
from inkstone.checkpoint.adapters import save_adapter
from inkstone.checkpoint.hub import locate
from inkstone.checkpoint.load import read_outline
from inkstone.core.errors import InputError
from inkstone.data.examples.read import read_examples
from inkstone.data.examples.records import Example
from inkstone.data.tokenizer_outline import is_assumed, mark_assumed
from inkstone.nn.heads import HeadedModel
from inkstone.nn.models.base import Decoder, Model
from inkstone.nn.rebuild import with_dropout
from inkstone.tokenizer import Tokenizer
from inkstone.train.config_teach import FreezeConfig, TeachConfig
from inkstone.train.cost.amounts_teach import amounts_of, num_read
from inkstone.train.cost.counts import FLOAT_BYTES
from inkstone.train.cost.disk import tokenizer_bytes
from inkstone.train.cost.trial import Run, Trial, fullest, one_step
from inkstone.train.loop import Loop, LoopSettings
from inkstone.train.method import Lesson, method_for
from inkstone.train.neftune import EmbeddingNoise
from inkstone.train.optim import num_trained
from inkstone.train.order import shuffled
from inkstone.train.rl.critic import critic_parameters, has_critic
from inkstone.train.rl.experience import Experience, sequence_of
from inkstone.train.rl.prompts import Prompt
from inkstone.train.switches import mixture_weights, prepare_switches
from inkstone.train.teach import teach_settings

_SAMPLE = 256
_LONGEST = 8


class TeachTrial(Trial):
    """A run of `finetune`, `align` or `distill`.

    Args:
        stage: which of them.
        config: its settings.
        inputs: its inputs; weights may be missing values (see `Stage.outline`).

    Raises:
        InkstoneError: model and examples cannot be read, or do not fit together.
    """

    config: TeachConfig

    def __init__(self, stage: str, config: TeachConfig, inputs: Mapping[str, Path]) -> None:
        self.config = config
        self.inputs = {name: path for name, path in inputs.items() if name != "replay"}
        self.method = method_for(stage, config, self.inputs)
        self.folder = locate(inputs["model"])
        self.data = read_examples(inputs["data"], config.examples, self.method.formats)
        self.rows = self.data.splits["train"]
        if not self.rows:
            raise InputError("there are no training examples", where=inputs["data"], remedy="give a split train")
        self.num_examples = len(self.rows)
        self.settings = self.settings_of(config)
        self.micro_batch_tokens = config.chosen_micro_batch_tokens(self.settings.device.type)
        weights = mixture_weights(config, [row.source for row in self.rows])
        self._ends = np.cumsum(np.ones(len(self.rows)) if weights is None else np.asarray(weights))
        self._encode()
        replayed = config.replay_share if config.replay_share is not None else 0.1 if "replay" in inputs else 0.0
        self.amounts = amounts_of(self, replayed)
        self.notes = {
            "method": self.method.name,
            "examples": f"{len(self.rows):,}, {self.amounts.example_tokens:.0f} tokens each, "
            f"{self.settings.batch_size} a step",
            "steps": self.settings.steps,
        }
        if self.is_on_policy:
            self.notes["completions"] = f"assumed to have {self.rl.max_new_tokens} tokens each"
        if is_assumed(self.folder):
            self.notes["vocabulary"] = f"assumed {self.tokenizer.vocab_size:,}: the tokenizer is not trained yet"

    def _encode(self) -> None:
        """Encode a sample; the whole is like it, and its longest examples are among it."""
        lesson = self._lesson(self.base(), self.config, Path())
        self.tokenizer = lesson.tokenizer
        encode = self.method.encoder(lesson)
        count = min(_SAMPLE, len(self.rows))
        places = (np.arange(count) + 0.5) * (self._ends[-1] / count)
        usual = [self.rows[index] for index in np.searchsorted(self._ends, places, side="right")]
        longest = sorted(self.rows, key=lambda row: -len(repr(row)))[:_LONGEST]
        began = time.perf_counter()
        self.usual = self._encoded(lesson, encode, usual)
        self.encode_seconds = (time.perf_counter() - began) / count
        self.per_row = len(self.usual) / count
        self.longest = self._encoded(lesson, encode, longest)
        if not self.usual:
            raise InputError("no example fits into the model's context", where="data", remedy="see: inkstone check")
        self.num_examples = max(1, round(self._ends[-1] * self.per_row))
        self.settings = self.settings_of(self.config)
        self.longest_tokens = max(each.length for each in [*self.usual, *self.longest])

    def _encoded(self, lesson: Lesson, encode: Any, rows: Sequence[Example]) -> list[Any]:
        """The encodings that the run would learn from, cut where that is allowed; the data check refuses the others."""
        limit, cut = lesson.max_length, self.method.cut if self.config.truncate else None
        encoded = []
        for row in rows:
            for each in encode(row):
                if self.method.longest(each) <= limit:
                    encoded.append(each)
                elif cut is not None:
                    encoded.append(cut(each, limit))
        return encoded

    @property
    def is_on_policy(self) -> bool:
        """Whether what is learned from is drawn from the model."""
        return isinstance(self.usual[0], Prompt)

    @property
    def rl(self) -> Any:
        """The settings of learning from rewards."""
        return self.config.rl  # type: ignore[attr-defined]

    def settings_of(self, config: TeachConfig) -> LoopSettings:
        """As in `Trial`."""
        return teach_settings(config, self.num_examples, packed=config.packing and self.method.packs)

    def base(self) -> Model:
        """As in `Trial`."""
        return read_outline(self.folder).model

    def load(self) -> Model:
        """As in `Trial`."""
        return load_model(self.folder, self.config.device, "float32")

    def outline(self, config: TeachConfig) -> Model:
        """As in `Trial`."""
        return self._outlined(config).model

    def save_outline(self, out: Path) -> None:
        """Write what the run will write, with zeros for weights."""
        lesson = self._outlined(self._merged(self.config))
        lesson.model = self.method.finish(lesson.model)
        if lesson.adapter is not None:
            save_adapter(out, lesson.adapter, base=self.folder)
            lesson.tokenizer.save(out)
        else:
            save_checkpoint(out, lesson.model, lesson.tokenizer)
        if is_assumed(self.folder):
            mark_assumed(out)

    def _outlined(self, config: TeachConfig) -> Lesson:
        lesson = self._lesson(self.base(), config, Path())
        with torch.device("meta"):
            self._switch_on(lesson)
        return lesson

    def saved_bytes(self, config: TeachConfig) -> int:
        """As in `Trial`: an adapter is saved alone."""
        merged = self._merged(config)
        if merged.lora is None:
            return super().saved_bytes(merged)
        return FLOAT_BYTES * num_trained(self.outline(merged)) + tokenizer_bytes(self.tokenizer)

    def saved(self, config: TeachConfig) -> Model:
        """As in `Trial`."""
        return self.method.finish(self.outline(self._merged(config)))

    def _merged(self, config: TeachConfig) -> TeachConfig:
        """The settings without the adapter that is merged, because a new head is saved with the model."""
        if config.lora is None or not isinstance(self.outline(config), HeadedModel):
            return config
        return config.model_copy(update={"lora": None, "quantize_base": None})

    def _lesson(self, model: Model, config: TeachConfig, out: Path) -> Lesson:
        if config.dropout is not None:
            model = with_dropout(model, config.dropout)
        lesson = Lesson(model.train(), Tokenizer.load(self.folder), config, self.settings_of(config), self.inputs, out)
        with torch.device(model.device):
            lesson.model = self.method.prepare(lesson, self.rows)
        return lesson

    def _switch_on(self, lesson: Lesson) -> EmbeddingNoise | None:
        switches = prepare_switches(lesson)
        lesson.adapter = switches.adapter
        if isinstance(lesson.model, Decoder) and has_critic(lesson.model):
            for parameter in critic_parameters(lesson.model):
                parameter.requires_grad_(True)
        return switches.noise

    def run(self, model: Model, config: TeachConfig, out: Path, num_tokens: float = 0.0) -> Run:
        """As in `Trial`."""
        lesson = self._lesson(model, self._applicable(model, config), out)
        noise = self._switch_on(lesson)
        draw = self.method.draw or shuffled
        if self.is_on_policy:
            encoded, hungriest = self.usual, fullest(lesson.settings, self._completed())
        else:
            hungriest = fullest(lesson.settings, [*self.usual, *self.longest])
            room = max(0, round(num_tokens / self.amounts.example_tokens) - len(hungriest))
            encoded = [*hungriest, *self.usual[:room]]
        began = time.perf_counter()
        completed = self.method.complete(lesson, encoded, "train")
        seconds = time.perf_counter() - began
        objective = self.method.objective(lesson, completed)
        if not self.is_on_policy:
            first = completed[: len(hungriest)]
            hungriest = draw(lesson, first).batch(0, len(first))
        settings = one_step(lesson.settings, min(lesson.settings.batch_size, len(completed)))
        loop = Loop(lesson.model, objective, draw(lesson, completed), settings, out, None, noise=noise)
        return Run(loop, hungriest, seconds, sum(map(num_read, encoded)))

    def _applicable(self, model: Model, config: TeachConfig) -> TeachConfig:
        """The settings without what names parts of the data or blocks that are not there in small."""
        changes: dict[str, Any] = {"mixture": {}}
        if len(list(model.blocks)) < len(list(self.base().blocks)):
            changes["freeze"] = FreezeConfig()
            if config.lora is not None:
                changes["lora"] = config.lora.model_copy(update={"layers_to_transform": None})
        return config.model_copy(update=changes)

    def _completed(self) -> list[Experience]:
        """The longest problems with completions of the greatest length, as many as a step has."""
        count, wanted = self.rl.max_new_tokens, self.settings.batch_size * self.rl.group_size
        zeros = np.zeros(count, dtype=np.float32)
        prompts = sorted([*self.usual, *self.longest], key=lambda each: -each.length)
        completed = (
            Experience(sequence_of(each.input_ids, [0] * count), zeros, zeros, zeros, zeros, zeros)
            for each in prompts
            for _ in range(self.rl.group_size)
        )
        return [each for _, each in zip(range(wanted), completed, strict=False)]
