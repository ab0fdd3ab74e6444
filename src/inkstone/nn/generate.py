"""Completing a prompt: the naive way, which every faster one must equal."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from inkstone.core.errors import InputError
from inkstone.nn.models.base import Decoder
from inkstone.nn.sampling import check_token_ids, choose_tokens, logits_processors
from inkstone.nn.sampling_params import SamplingParams


@torch.inference_mode()
def generate_naive(
    model: Decoder, prompt_ids: Sequence[int], params: SamplingParams, *, stop_ids: Collection[int] = ()
) -> list[list[int]]:
    """The token ids of each completion, without cache, batch or text; stop strings play no part.

    Args:
        model: a decoder.
        prompt_ids: shorter than the model's context.
        params: how tokens are drawn.
        stop_ids: tokens that end a completion.

    Raises:
        InputError: the prompt is empty or fills the model's context.
    """
    room = check_prompt(model.context, prompt_ids)
    params = params.with_seed()
    device, ends = model.device, params.ends(stop_ids)
    processors = logits_processors(params, len(prompt_ids), ends)
    completions = []
    for index in range(params.num_return_sequences):
        ids = list(prompt_ids)
        for step in range(min(params.max_new_tokens, room)):
            input_ids = torch.tensor([ids], device=device)
            logits: Tensor = model(input_ids)[:, -1].float()
            check_token_ids(params, logits.shape[-1])
            for process in processors:
                logits = process(input_ids, logits)
            (token,) = choose_tokens(logits, params, [index], step)
            if token in ends:
                break
            ids.append(token)
        completions.append(ids[len(prompt_ids) :])
    return completions


def check_prompt(context: int, prompt_ids: Sequence[int], where: str = "prompt") -> int:
    """The number of tokens that fit into a model's context after a prompt.

    Raises:
        InputError: the prompt is empty or leaves no room.
    """
    if not prompt_ids:
        raise InputError("the prompt has no tokens", where=where, remedy="give at least one character")
    if len(prompt_ids) >= context:
        raise InputError(
            f"the prompt has {len(prompt_ids):,} tokens, but the model's context is {context:,} and must hold one more",
            where=where,
            remedy="shorten the prompt, or use a model with a longer context",
        )
    return context - len(prompt_ids)
