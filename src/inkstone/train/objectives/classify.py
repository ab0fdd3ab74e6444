"""Classes and numbers of whole texts."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inkstone.core.config import suggestion
from inkstone.core.errors import InputError, located
from inkstone.data.examples.classes import Label, class_names, in_order, number
from inkstone.data.examples.encoded import LabeledSequence
from inkstone.data.examples.records import Example, LabeledText
from inkstone.nn.heads import HeadConfig, HeadedModel, ProblemType
from inkstone.nn.layers.head_loss import sequence_loss
from inkstone.tokenizer.encoding import kept_tokens
from inkstone.tokenizer.pairs import with_separated_pairs
from inkstone.train.config_finetune import FinetuneConfig
from inkstone.train.method import Encode, Lesson, Method
from inkstone.train.objectives.base import Batch, Objective
from inkstone.train.objectives.headed import RowLayout, give_head, head_logits
from inkstone.train.objectives.settings import settings_of

_UNITS: dict[ProblemType, str] = {
    "single_label_classification": "nats per text",
    "multi_label_classification": "nats per class of a text",
    "regression": "squared error",
}
"""Of the loss."""


class SequenceClassification(Objective[LabeledSequence]):
    """Cross-entropy of a class, binary cross-entropy of several, or squared error of a number (`sequence_loss`).

    Args:
        problem: which of the three.
        layout: of the rows.
        class_weights: (num_labels,), what each class counts.
        label_smoothing: share of the probability that goes to all classes alike.
    """

    def __init__(
        self,
        problem: ProblemType,
        layout: RowLayout,
        class_weights: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        self._problem, self._layout = problem, layout
        self.loss_unit = _UNITS[problem]
        self._class_weights, self._label_smoothing = class_weights, label_smoothing

    def collate(self, examples: Sequence[LabeledSequence]) -> Batch:
        """B texts → `input_ids` and what belongs to them, (B, T), and `labels`, (B,) or (B, num_labels)."""
        batch = self._layout.batch(
            [example.input_ids for example in examples], [example.token_type_ids for example in examples]
        )
        dtype = torch.int64 if self._problem == "single_label_classification" else torch.float32
        batch["labels"] = torch.as_tensor(np.asarray([example.target for example in examples])).to(dtype)
        return batch

    def num_targets(self, batch: Batch) -> int:
        """Texts."""
        return len(batch["labels"])

    def loss(self, model: HeadedModel, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        """Summed loss; `accuracy` (of several classes: all of a text right), or `absolute_error` of a number."""
        logits, labels = head_logits(model, batch), batch["labels"]
        weights = None if self._class_weights is None else self._class_weights.to(logits.device)
        loss = sequence_loss(
            logits,
            labels,
            self._problem,
            reduction="sum",
            class_weights=weights,
            label_smoothing=self._label_smoothing,
        )
        with torch.no_grad():
            match self._problem:
                case "single_label_classification":
                    return loss, {"accuracy": (logits.argmax(-1) == labels).sum()}
                case "multi_label_classification":
                    return loss, {"accuracy": ((logits > 0) == (labels > 0)).all(-1).sum()}
                case "regression":
                    return loss, {"absolute_error": (logits.squeeze(-1) - labels).abs().sum()}


def _classifier(lesson: Lesson, examples: Sequence[Example]) -> HeadedModel:
    texts = _texts(lesson, examples)
    several = isinstance(texts[0].label, tuple)
    names: set[str] = set()
    for text in texts:
        if isinstance(text.label, tuple) != several:
            raise InputError(
                "some examples have a list of labels, others a single one",
                where=text.where,
                remedy="write a list of labels in every row, or in none",
            )
        names.update(class_names(text.label))
    if len(names) < (1 if several else 2):
        raise InputError(
            f"there is nothing to tell apart: the only label is {', '.join(names) or 'none'}",
            where="data",
            remedy="give training examples of two labels or more",
        )
    problem: ProblemType = "multi_label_classification" if several else "single_label_classification"
    return give_head(lesson, HeadConfig(kind="sequence", labels=in_order(names), problem_type=problem))


def _regressor(lesson: Lesson, examples: Sequence[Example]) -> HeadedModel:
    _texts(lesson, examples)
    return give_head(lesson, HeadConfig(kind="sequence", labels=("value",), problem_type="regression"))


def _texts(lesson: Lesson, examples: Sequence[Example]) -> list[LabeledText]:
    """The examples; the tokenizer is made to tell the texts of pairs apart where there are some."""
    texts = [example for example in examples if isinstance(example, LabeledText)]
    if any(text.pair is not None for text in texts):
        lesson.tokenizer = with_separated_pairs(lesson.tokenizer)
    return texts


def _encoder(lesson: Lesson) -> Encode[LabeledSequence]:
    assert isinstance(lesson.model, HeadedModel)
    target = _targets(lesson.model.head_config)

    def encode(example: Example) -> list[LabeledSequence]:
        assert isinstance(example, LabeledText)
        with located(example.where):
            encoding = lesson.tokenizer.encode_with_offsets(example.text, example.pair)
            if 0 not in encoding.sequence_ids:
                raise InputError("the text has no tokens", remedy="leave out empty texts")
            text_ids = [-1 if text is None else text for text in encoding.sequence_ids]
            ids, types, texts = np.asarray([encoding.ids, encoding.token_type_ids, text_ids], dtype=np.int64)
            return [LabeledSequence(ids, types, texts, target(example.label))]

    return encode


def _targets(head: HeadConfig) -> Callable[[Label], Any]:
    """What turns a label into the target of a head."""
    index_of = {name: index for index, name in enumerate(head.labels)}

    def indices(label: Label) -> list[int]:
        names = class_names(label)
        unknown = next((name for name in names if name not in index_of), None)
        if unknown is not None:
            raise InputError(
                f"the label {unknown!r} is not among those of the training examples",
                remedy=suggestion(unknown, index_of),
            )
        return [index_of[name] for name in names]

    def only(label: Label) -> int:
        found = indices(label)
        if len(found) != 1:
            raise InputError(f"{len(found)} labels, and training examples have one each", remedy="give one label")
        return found[0]

    def each(label: Label) -> NDArray[np.float64]:
        return np.isin(np.arange(len(head.labels)), indices(label)).astype(np.float64)

    match head.problem:
        case "single_label_classification":
            return only
        case "multi_label_classification":
            return each
        case "regression":
            return number


def _cut(text: LabeledSequence, length: int) -> LabeledSequence:
    """The beginning of the text, of a pair of the longer one first; what the tokenizer added stays."""
    kept = kept_tokens([None if each < 0 else each for each in text.text_ids.tolist()], length)
    return LabeledSequence(text.input_ids[kept], text.token_type_ids[kept], text.text_ids[kept], text.target)


def _objective(lesson: Lesson, texts: Sequence[LabeledSequence]) -> SequenceClassification:
    model, config = lesson.model, settings_of(lesson, FinetuneConfig)
    assert isinstance(model, HeadedModel)
    head = model.head_config
    weights = None
    if config.head.class_weights == "balanced" and head.problem != "regression":
        weights = balanced_weights([text.target for text in texts], len(head.labels), head.problem)
    return SequenceClassification(head.problem, RowLayout.of(lesson), weights, config.label_smoothing)


def balanced_weights(targets: Sequence[Any], num_labels: int, problem: ProblemType) -> Tensor:
    """What each class counts so that all count alike, (num_labels,): `N / (number of classes · N of the class)`.

    As scikit-learn's `class_weight="balanced"`; their mean over the texts is 1. Where several classes may apply,
    `N without the class / N with it`: true and false of each count alike. A class without texts counts 1.
    """
    if problem == "multi_label_classification":
        counts = np.sum(targets, axis=0)
        weights = (len(targets) - counts) / np.maximum(counts, 1)
        weights[weights == 0] = 1.0
    else:
        counts = np.bincount(np.asarray(targets), minlength=num_labels)
        weights = len(targets) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    weights[counts == 0] = 1.0
    return torch.from_numpy(weights).float()


CLASSIFY: Method[LabeledSequence] = Method(
    "classify", "finetune", ("labels",), _encoder, _objective, cut=_cut, prepare=_classifier, packs=False
)
REGRESS: Method[LabeledSequence] = Method(
    "regress", "finetune", ("labels",), _encoder, _objective, cut=_cut, prepare=_regressor, packs=False
)
