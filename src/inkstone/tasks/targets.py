"""Writing the targets of sources: translations, summaries, whatever pairs of texts a model was taught by."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inkstone.core.config import parse_config
from inkstone.core.errors import InputError
from inkstone.core.progress import say
from inkstone.tasks.engines import engine_for
from inkstone.tasks.headed import encode_texts

if TYPE_CHECKING:
    from inkstone.nn.beam import BeamParams
    from inkstone.nn.models.base import Model
    from inkstone.tokenizer import Tokenizer


def write_targets(
    model: "Model", tokenizer: "Tokenizer", sources: Sequence[str], *, truncate: bool = False, **search: Any
) -> list[str]:
    """The target of each source, written side by side.

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
    from inkstone.engine.offline import as_completed
    from inkstone.engine.request import Request
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
    if isinstance(model, EncoderDecoder):
        encodings = encode_texts(tokenizer, sources, None, model.context, truncate=truncate)
        prompts = [encoding.ids for encoding in encodings]
    else:
        prompts = _prompts(tokenizer, sources, model.context, params, truncate=truncate)
    if isinstance(model, EncoderDecoder):
        requests = [Request([model.decoder_start_token_id], params, source) for source in prompts]
    else:
        requests = [Request(prompt, params) for prompt in prompts]
    # Longest first: what does not fit is refused before anything is computed, and few wait at the end.
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    targets, num_endless = [""] * len(sources), 0
    for place, (best, *_) in as_completed(engine_for(model, tokenizer), [requests[row] for row in order]):
        targets[order[place]] = best.text
        num_endless += best.stop_id is None
    if num_endless:
        say(f"note: {num_endless} of {len(sources)} texts did not end within the tokens allowed")
    return targets


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
