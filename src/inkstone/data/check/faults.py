"""The kinds of faults that a data check looks for.

An error is what cannot be learned as it stands: the row is broken, contradicts itself, or would teach nothing. A
warning is what can be learned from, and what a careful person would want to see first.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from inkstone.core.errors import InkstoneError

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault."""

    name: str
    severity: Severity
    remedy: str


class Found(NamedTuple):
    """One fault of a row."""

    fault: Fault
    what: str
    """What is wrong with this row, in words."""


def found_in(error: InkstoneError, fault: Fault) -> Found:
    """What an error says of a row, with the remedy that it knows."""
    return Found(fault, error.cause if error.remedy is None else f"{error.cause}: {error.remedy}")


def _error(name: str, remedy: str) -> Fault:
    return Fault(name, "error", remedy)


def _warning(name: str, remedy: str) -> Fault:
    return Fault(name, "warning", remedy)


# Reading
MALFORMED = _error("malformed row", "repair or remove it")
NO_EXAMPLES = _error("no training examples", "give some")
UNTEACHABLE = _error("cannot be taught", "use another model or method")

# Characters
REPLACEMENT = _warning("replacement character", "read the source again in its right encoding")
MOJIBAKE = _warning("mojibake", "read the source again in its right encoding, or repair it with ftfy")
CONTROL = _warning("control character", "remove it")
SPECIAL_TOKEN = _warning("special token in a text", "write it differently: the model reads it as a control sign")

# Kinds of examples
SPAN_EDGE = _warning("span with white space at its edge", "move its start or end")
COPIED = _warning("target equals source", "remove the row, unless copying is meant")
DUPLICATE_ID = _warning("duplicate id", "give each row its own")

# Rows beside each other
DUPLICATE = _warning("duplicate row", "keep one: the others count twice")
CONFLICT = _warning("conflicting rows", "decide for one, unless both are right")
CONSTANT = _warning("one value in every row", "see whether the right column was read")
LEAK = _warning("evaluation row also in train", "remove it from one of them: the evaluation is not to be trusted")
NEAR_LEAK = _warning(
    "evaluation row almost in train", "remove it from one of them: they differ in case, spaces or punctuation only"
)

# Labels
ONE_LABEL = _warning("all labels are the same", "add examples of the others: there is nothing to tell apart")
UNSEEN_LABEL = _warning("label never seen in training", "add training examples of it, or correct its spelling")
SINGLE_EXAMPLE = _warning("label with a single example", "add some, or join it with another label")
IMBALANCE = _warning(
    "labels far out of balance", "add examples of the rare ones, and look at their scores, not accuracy"
)
LABEL_SPELLING = _warning("labels that differ in spelling only", "write them alike")

# Tokens
NOT_ENCODED = _error("cannot be encoded", "repair or remove the row")
TOO_LONG = _error("too long", "shorten it, raise max_length, or set truncate to cut such rows")
TOO_LONG_TO_CUT = _error("too long", "shorten it or raise max_length: what is learned here cannot be cut")
CUT = _warning("cut", "raise max_length to keep all of it")
CUT_AWAY = _warning("left out, too long", "raise max_length to keep it")
NOTHING_LEARNED = _error("no trained token", "give it an answer, or remove the row")
NO_STOP = _warning(
    "stop token not trained", "end the answer with the model's stop token: without it, it never learns to stop"
)
BETWEEN_TOKENS = _warning(
    "span that tokens cannot say", "see whether its offsets are right; if they are, the model will find a little more"
)
UNKNOWN_TOKENS = _warning("unknown tokens", "use a tokenizer that can write this text")
