"""Writing the targets of sources: translations, summaries, whatever pairs of texts a model was taught by."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inkstone.core.config import parse_config
from inkstone.core.errors import InputError
from inkstone.core.progress import say
from inkstone.tasks.batches import TOKENS_AT_ONCE, length_batches
from inkstone.tasks.headed import encode_texts

if TYPE_CHECKING:
    from inkstone.nn.beam import BeamParams, Hypothesis
    from inkstone.nn.models.base import Model
    from inkstone.tokenizer import Tokenizer


def write_targets(
    model: "Model", tokenizer: "Tokenizer", sources: Sequence[str], *, truncate: bool = False, **search: Any
) -> list[str]:
    """The target of each source, written in batches of sources of like length.

    Args:
        model: an encoder–decoder; or a decoder, which is asked as the method `pairs` teaches it.
        tokenizer: the model's own.
        sources: at most the model's context long each.
        truncate: keep the beginning of a source that is too long, and warn of how many there were.
        search: fields of `BeamParams`; what is not given is as generation_config.json says, or else greedy.

    Returns:
        In the order of the sources.

    Raises:
        InputError: a source has no tokens, or is too long and `truncate` is not given; or the model writes no text.
        ConfigError: an unknown or senseless field of `search`.
    """
    from inkstone.checkpoint.save import stop_ids
    from inkstone.nn.beam import BeamParams, beam_params
    from inkstone.nn.models.base import Decoder, EncoderDecoder

    if not isinstance(model, Decoder | EncoderDecoder):
        raise InputError(
            f"a {model.config.model_type} model ({type(model).__name__}) writes no text",
            where="model",
            remedy="use an encoder–decoder, such as a t5 or marian model, or a decoder",
        )
    defaults = {} if "num_beams" in model.generation_config else {"num_beams": 1}
    given = {name: value for name, value in search.items() if value is not None}
    parse_config(BeamParams, given, where="search")
    params = beam_params(model, **(defaults | given))
    stops = stop_ids(tokenizer, model)
    if isinstance(model, EncoderDecoder):
        encodings = encode_texts(tokenizer, sources, None, model.context, truncate=truncate)
        prompts = [encoding.ids for encoding in encodings]
    else:
        prompts = _prompts(tokenizer, sources, model.context, params, truncate=truncate)
    targets, num_endless = [""] * len(sources), 0
    for rows in length_batches([len(ids) for ids in prompts], TOKENS_AT_ONCE // (2 * params.num_beams)):
        for row, best in zip(rows, _search(model, [prompts[row] for row in rows], params, stops), strict=True):
            targets[row] = tokenizer.target.decode(best.token_ids)
            num_endless += not stops or best.token_ids[-1] not in stops
    if num_endless:
        say(f"note: {num_endless} of {len(sources)} texts did not end within the tokens allowed")
    return targets


def _search(
    model: Any, prompts: Sequence[Sequence[int]], params: "BeamParams", stops: Sequence[int]
) -> "list[Hypothesis]":
    """The best completion of each prompt, or target of each source."""
    from inkstone.nn.beam import beam_search
    from inkstone.nn.models.base import EncoderDecoder
    from inkstone.nn.target_decoder import TargetDecoder

    if isinstance(model, EncoderDecoder):
        decoder = TargetDecoder(model, prompts)
        found = beam_search(decoder, [decoder.start] * len(prompts), params, stop_ids=stops)
    else:
        found = beam_search(model, prompts, params, stop_ids=stops)
    return [hypotheses[0] for hypotheses in found]


def _prompts(
    tokenizer: "Tokenizer", sources: Sequence[str], context: int, params: "BeamParams", *, truncate: bool
) -> list[list[int]]:
    """What a decoder is asked, with room for the target."""
    from inkstone.tokenizer.taught import encode_source

    empty = next((row for row, source in enumerate(sources) if not source), None)
    if empty is not None:
        raise InputError(f"texts[{empty}] has no tokens", where="texts", remedy="leave out empty texts")
    longest = context - min(params.max_new_tokens, context // 2) if truncate else context - 1
    prompts = [encode_source(tokenizer, source) for source in sources]
    too_long = [row for row, ids in enumerate(prompts) if len(ids) > longest]
    if too_long and not truncate:
        raise InputError(
            f"{len(too_long)} of {len(sources)} texts leave no room for their target in the model's context of "
            f"{context:,} tokens; texts[{too_long[0]}] makes a prompt of {len(prompts[too_long[0]]):,}",
            where="texts",
            remedy="split them, or give truncate=True to keep their beginnings",
        )
    if too_long:
        warnings.warn(
            f"{len(too_long)} of {len(sources)} texts were cut to make prompts of {longest:,} tokens", stacklevel=5
        )
    for row in too_long:
        prompts[row] = _cut(tokenizer, sources[row], longest)
    return prompts


def _cut(tokenizer: "Tokenizer", source: str, longest: int) -> list[int]:
    """The prompt of so much of a source that it is short enough."""
    from inkstone.tokenizer.taught import encode_source

    ids = encode_source(tokenizer, source)
    while len(ids) > longest:
        offsets = tokenizer.encode_with_offsets(source, add_special_tokens=False).offsets
        keep = len(offsets) - (len(ids) - longest)
        if keep < 1:
            raise InputError(
                f"the chat template alone fills {longest:,} tokens", where="texts", remedy="use a longer context"
            )
        source = source[: offsets[keep][0]]
        ids = encode_source(tokenizer, source)
    return ids
