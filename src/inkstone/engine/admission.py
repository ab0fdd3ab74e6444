"""Refusing at the door what can never be done."""

from collections.abc import Sequence

from inkstone.core.errors import ConfigError, InputError
from inkstone.engine.request import Request
from inkstone.engine.runner import Runner
from inkstone.nn.beam import BeamParams, check_beam_tokens
from inkstone.nn.generate import check_prompt
from inkstone.nn.sampling import check_token_ids
from inkstone.nn.target_decoder import check_sources


def check_request(request: Request, runner: Runner, *, has_text: bool) -> None:
    """Prove that a request can be answered, alone if need be.

    Args:
        request: with all its params.
        runner: that would compute it.
        has_text: whether tokens can be turned into text.

    Raises:
        InputError: its prompt is empty or leaves no room in the model's context; its source is missing, empty or too
            long, or there is one for a decoder; tokens are not in the vocabulary; or its worst case, every token that
            it may write, does not fit into all blocks together.
        ConfigError: its params ask for what is not there.
    """
    params = request.params
    room = check_prompt(runner.context, request.prompt_ids)
    if isinstance(params, BeamParams):
        check_beam_tokens(params, runner.vocab_size)
        if request.constraint is not None:
            raise ConfigError("beam search takes no constraint", where="constraint", remedy="sample instead")
    else:
        check_token_ids(params, runner.vocab_size)
        if params.stop and not has_text:
            raise ConfigError("stop strings need decode", where="stop", remedy="give the engine the tokenizer's decode")
        if params.bad_words:
            raise ConfigError("words need a tokenizer", where="bad_words", remedy="give the engine bad_words_ids")
        if request.constraint is not None and params.ignore_eos:
            raise ConfigError("a form must be able to end", where="ignore_eos", remedy="leave it out")
    if runner.reads_sources:
        check_sources([request.source_ids], runner.context)
        _check_known(request.source_ids, runner.input_vocab_size, "source")
        _check_known(request.prompt_ids, runner.vocab_size, "prompt")
    elif request.source_ids:
        raise InputError("a decoder reads no source", where="source", remedy="make it a part of the prompt")
    else:
        _check_known(request.prompt_ids, runner.input_vocab_size, "prompt")
    together = params.num_beams if isinstance(params, BeamParams) else 1
    # The last token of a completion is never computed.
    num_tokens = len(request.prompt_ids) + min(params.max_new_tokens, room) - 1
    num_blocks = together * -(-num_tokens // runner.block_size)
    if num_blocks > runner.num_blocks:
        each = f"{num_tokens:,} tokens" if together == 1 else f"{together} beams of {num_tokens:,} tokens"
        raise InputError(
            f"{each} need {num_blocks:,} KV blocks of {runner.block_size}, and there are {runner.num_blocks:,}",
            where="prompt",
            remedy="ask for fewer new tokens, or give the engine more memory for keys and values",
        )


def _check_known(token_ids: Sequence[int], vocab_size: int, where: str) -> None:
    if (greatest := max(token_ids)) >= vocab_size:
        raise InputError(
            f"token {greatest} is not in the model's vocabulary of {vocab_size:,}",
            where=where,
            remedy="encode the text with this model's tokenizer",
        )
