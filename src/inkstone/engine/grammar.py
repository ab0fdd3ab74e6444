"""Completions that must have a form: compiled by llguidance, applied as a mask on the logits of one sequence."""

import json
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from collections.abc import Sequence as AbstractSequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from inkstone.core.errors import ConfigError
from inkstone.core.extras import need
from inkstone.engine.form import Form

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from inkstone.tokenizer import Tokenizer

_MOST_CHARACTERS = 200_000
_MOST_DEPTH = 64
_MOST_KEPT = 64
_LIMITS = {
    "initial_lexer_fuel": 2_000_000,
    "step_lexer_fuel": 500_000,
    "step_max_items": 100_000,
    "max_items_in_row": 4_000,
    "max_lexer_states": 500_000,
    "max_grammar_size": 500_000,
}
"""What bounds the work of compiling, and of each token; in llguidance's own units."""


_JSON = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""On one line, as Python writes it: free white space could go on for ever."""


class Grammars:
    """Compiles forms for one tokenizer, once each.

    Args:
        tokenizer: of the model.
        vocab_size: logits that the model gives.
        stop_ids: the model's own stop tokens; one of them ends a completion whose form is complete.

    Raises:
        ConfigError: llguidance is not installed, or there is no stop token.
    """

    def __init__(self, tokenizer: "Tokenizer", vocab_size: int, stop_ids: Collection[int]) -> None:
        llguidance = need("llguidance", "engine", "leave the form out")
        if not stop_ids:
            raise ConfigError(
                "completions of a form need a token that ends them",
                where="form",
                remedy="use a model with a stop token",
            )
        self._library = llguidance
        self._limits = llguidance.LLParserLimits(**_LIMITS)
        words = _Words(tokenizer, sorted(stop_ids))
        self._tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(words), vocab_size, sorted(stop_ids))
        self._vocab_size = vocab_size
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor(1, thread_name_prefix="grammar")

    def submit(self, form: Form) -> "Future[Compiled]":
        """Compile beside what else is done; the work is bounded, and dropped if it is cancelled before its turn."""
        return self._workers.submit(self.compile, form)

    def compile(self, form: Form) -> "Compiled":
        """A form that sequences can be held to.

        Raises:
            ConfigError: it is malformed, too large, too deep or too complex, or has something that cannot be enforced.
        """
        key = form.model_dump_json()
        with self._lock:
            if key in self._compiled:
                self._compiled.move_to_end(key)
                return Compiled(self._compiled[key], self._vocab_size)
        matcher = self._new_matcher(form)
        with self._lock:
            self._compiled[key] = matcher
            if len(self._compiled) > _MOST_KEPT:
                self._compiled.popitem(last=False)
        return Compiled(matcher, self._vocab_size)

    def _new_matcher(self, form: Form) -> "LLMatcher":
        grammar = self._grammar(form)
        matcher = self._library.LLMatcher(self._tokenizer, grammar, log_level=0, limits=self._limits)
        if matcher.is_error():
            raise ConfigError(f"the {form.kind} cannot be compiled: {_first_line(matcher.get_error())}", where="form")
        if warnings := matcher.get_grammar_warnings():
            raise ConfigError(
                f"the {form.kind} has something that would not be enforced: {_first_line(warnings[0])}", where="form"
            )
        return matcher

    def _grammar(self, form: Form) -> str:
        matcher = self._library.LLMatcher
        if form.json_schema is not None:
            schema = json.dumps(form.json_schema, default=dict)
            _check_size(schema, form.kind)
            if _depth(form.json_schema) > _MOST_DEPTH:
                raise ConfigError(f"the json_schema is nested deeper than {_MOST_DEPTH} levels", where="form")
            grammar: str = matcher.grammar_from_json_schema(schema, overrides=_JSON)
            return grammar
        if form.choice is not None:
            text = "start: " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in form.choice)
            _check_size(text, form.kind)
            choices: str = matcher.grammar_from_lark(text)
            return choices
        text = form.regex if form.regex is not None else form.grammar or ""
        _check_size(text, form.kind)
        make = matcher.grammar_from_lark if form.regex is None else matcher.grammar_from_regex
        made: str = make(text)
        return made


class Compiled:
    """A form that is ready; see `Constraint`."""

    def __init__(self, matcher: "LLMatcher", vocab_size: int) -> None:
        self._matcher, self._vocab_size = matcher, vocab_size

    def matcher(self) -> "FormMatcher":
        """As in `Constraint`."""
        return FormMatcher(self._matcher.deep_copy(), self._vocab_size)


class FormMatcher:
    """Where one completion is in its form; see `Matcher`."""

    def __init__(self, matcher: "LLMatcher", vocab_size: int) -> None:
        self._matcher, self._vocab_size = matcher, vocab_size

    @property
    def failure(self) -> str | None:
        """As in `Matcher`."""
        return _first_line(self._matcher.get_error()) if self._matcher.is_error() else None

    def mask(self, logits: Tensor, drafts: AbstractSequence[int] = ()) -> Tensor:
        """As in `Matcher`."""
        read = self._matcher.try_consume_tokens(list(drafts)) if drafts else 0
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8) if read == len(drafts) else None
        if read:
            self._matcher.rollback(read)
        if bits is None:  # a draft that is not allowed is rejected before this place counts
            return logits
        allowed = np.unpackbits(bits, bitorder="little")[: self._vocab_size].astype(bool)
        return logits.masked_fill(~torch.from_numpy(allowed).to(logits.device), -torch.inf)

    def accept(self, token: int) -> None:
        """As in `Matcher`."""
        self._matcher.consume_token(token)

    def fork(self) -> "FormMatcher":
        """As in `Matcher`."""
        return FormMatcher(self._matcher.deep_copy(), self._vocab_size)


class _Words:
    """A tokenizer as llguidance wants it."""

    def __init__(self, tokenizer: "Tokenizer", stop_ids: list[int]) -> None:
        self.eos_token_id = stop_ids[0]
        self.bos_token_id = tokenizer.bos_id
        special = set(tokenizer.special_tokens.values()) | set(stop_ids)
        self.special_token_ids = sorted(special)
        names = {number: name for name, number in tokenizer.special_tokens.items()}
        self.tokens = [
            names.get(number, f"<{number}>").encode() if number in special else tokenizer.token_bytes(number)
            for number in range(len(tokenizer))
        ]
        self._tokenizer = tokenizer

    def __call__(self, text: str | bytes) -> list[int]:
        return self._tokenizer.encode_plain(text if isinstance(text, str) else text.decode("utf-8", "replace"))


def _check_size(text: str, kind: str) -> None:
    if len(text) > _MOST_CHARACTERS:
        raise ConfigError(f"the {kind} has {len(text):,} characters, more than {_MOST_CHARACTERS:,}", where="form")


def _depth(value: Any) -> int:
    """Levels of lists and mappings; counts no further than is allowed."""
    level, depth = [value], 0
    while level and depth <= _MOST_DEPTH:
        depth += 1
        level = [
            child
            for each in level
            if isinstance(each, Mapping | list | tuple)
            for child in (each.values() if isinstance(each, Mapping) else each)
        ]
    return depth


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0]
