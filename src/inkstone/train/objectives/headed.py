"""What the methods that put a head on a model have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from inkstone.checkpoint.heads import with_head
from inkstone.core.progress import say
from inkstone.data.examples.encoded import Ids
from inkstone.data.layout import fill
from inkstone.nn.heads import HeadConfig, HeadedModel
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.method import Lesson
from inkstone.train.objectives.base import Batch
from inkstone.train.objectives.settings import settings_of


def give_head(lesson: Lesson, head: HeadConfig) -> HeadedModel:
    """The lesson's model with a new head, or with its own where that predicts all that `head` does.

    Raises:
        ConfigError: the model's family has no such head.
    """
    model, config = lesson.model, settings_of(lesson, FinetuneConfig)
    own = model if isinstance(model, HeadedModel) and _serves(model.head_config, head) else None
    dropout = config.head.dropout
    if own is not None:
        say(f"the model goes on with its own head: {', '.join(own.head_config.labels) or head.kind}")
        head = own.head_config
    if dropout is not None:
        head = head.model_copy(update={"classifier_dropout": dropout})
    headed = with_head(model, head, torch.Generator().manual_seed(config.seed))
    if own is not None:
        headed.output_layer.load_state_dict(own.output_layer.state_dict())
    return headed


def _serves(own: HeadConfig, wanted: HeadConfig) -> bool:
    """Whether a head predicts what is wanted; a single number may have any name."""
    if own.kind != wanted.kind or (own.kind == "sequence" and own.problem != wanted.problem):
        return False
    if own.kind == "sequence" and wanted.problem == "regression":
        return len(own.labels) == len(wanted.labels)
    return set(wanted.labels) <= set(own.labels)


@dataclass(frozen=True)
class RowLayout:
    """How texts become the rows of a headed model's batch: padded, and all else says where."""

    pad_id: int = 0
    padding_side: Literal["right", "left"] = "right"
    token_types: bool = False
    """Whether the model reads them."""
    first_position: int = 0
    """Of the family's positions."""

    @classmethod
    def of(cls, lesson: Lesson) -> "RowLayout":
        """What the lesson's model needs."""
        model = lesson.model
        return cls(
            lesson.tokenizer.pad_id or 0,
            lesson.config.padding_side,
            isinstance(model, HeadedModel) and model.reads_token_types,
            model.config.first_position,
        )

    def batch(self, input_ids: Sequence[Ids], token_type_ids: Sequence[Ids] | None = None) -> Batch:
        """`input_ids` and `attention_mask`, (B, T); `token_type_ids` and `position_ids` where they say something."""
        side = self.padding_side
        mask = fill([[1] * len(row) for row in input_ids], 0, side)
        batch = {"input_ids": fill(input_ids, self.pad_id, side), "attention_mask": mask}
        if self.token_types and token_type_ids is not None:
            batch["token_type_ids"] = fill(token_type_ids, 0, side)
        if side == "left":
            batch["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0) + self.first_position
        return batch

    def columns(self, rows: Sequence[Ids], width: int) -> Tensor:
        """(B,): the column in which each row's first token stands."""
        lengths = torch.tensor([len(row) for row in rows])
        return width - lengths if self.padding_side == "left" else torch.zeros_like(lengths)


def head_logits(model: HeadedModel, batch: Batch) -> Tensor:
    """Logits of a batch of `RowLayout`, in float32."""
    logits = model(batch["input_ids"], batch["attention_mask"], batch.get("token_type_ids"), batch.get("position_ids"))
    return logits.float()
