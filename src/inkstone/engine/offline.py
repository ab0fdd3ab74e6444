"""Many prompts at once, all answers at the end; or one, as it is written."""

from collections.abc import Iterable, Iterator

from inkstone.engine.engine import Engine
from inkstone.engine.request import Output, Request


def complete(engine: Engine, requests: Iterable[Request]) -> list[list[Output]]:
    """The completions of every request, whole, in the order of their numbers; errors are those of `add_request`.

    If one request is refused, none is computed.
    """
    numbers: list[int] = []
    try:
        for request in requests:
            numbers.append(engine.add_request(request))
        whole: dict[int, dict[int, Output]] = {number: {} for number in numbers}
        while engine.has_work:
            for output in engine.step():
                parts = whole[output.request_id]
                parts.setdefault(output.index, Output(output.request_id, output.index)).extend(output)
    finally:
        for number in numbers:
            engine.abort(number)
    return [[whole[number][index] for index in sorted(whole[number])] for number in numbers]


def stream(engine: Engine, request: Request) -> Iterator[Output]:
    """What is new of a request's completions, step by step; it is broken off when nobody reads on."""
    number = engine.add_request(request)
    try:
        while engine.has_work:
            yield from engine.step()
    finally:
        engine.abort(number)
