"""What the engine must say, computed the slow way: one sequence at a time, nothing remembered."""

from collections.abc import Collection

import torch

from inkstone.engine.request import FinishReason, Request
from inkstone.nn.sampling import choose_tokens, logits_processors
from inkstone.nn.sampling_params import SamplingParams
from tests.engine.models import next_logits, tiny


def naive(family: str, request: Request, stop_ids: Collection[int]) -> list[tuple[list[int], FinishReason]]:
    """Token ids and the end of each completion."""
    params = request.params
    assert isinstance(params, SamplingParams)
    ends, prompt, room = params.ends(stop_ids), request.prompt_ids, tiny(family).context - len(request.prompt_ids)
    completions = []
    for index in range(params.num_return_sequences):
        ids: list[int] = []
        reason: FinishReason = "length" if params.max_new_tokens <= room else "context"
        for step in range(min(params.max_new_tokens, room)):
            logits = next_logits(family, [*prompt, *ids], request.source_ids).float().unsqueeze(0)
            for process in logits_processors(params, len(prompt), ends):
                logits = process(torch.tensor([[*prompt, *ids]]), logits)
            (token,) = choose_tokens(logits, params, [index], step)
            if token in ends:
                reason = "eos"
                break
            ids.append(token)
        completions.append((ids, reason))
    return completions
