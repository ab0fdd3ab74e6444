"""Many prompts at once, all answers at the end; or one, as it is written."""

from collections import deque
from collections.abc import Iterable, Iterator
from operator import itemgetter
from weakref import WeakKeyDictionary

from inkstone.engine.engine import Engine
from inkstone.engine.request import Output, Request

_mail: WeakKeyDictionary[Engine, dict[int, deque[Output]]] = WeakKeyDictionary()
"""What steps gave to requests whose readers were not there."""


def as_completed(engine: Engine, requests: Iterable[Request]) -> Iterator[tuple[int, list[Output]]]:
    """The completions of every request, whole, in the order of their numbers.

    If one request is refused, none is computed; errors are those of `Engine.add_request`.

    Yields:
        The place of a request in the order given, and its completions, as soon as all of them have ended.
    """
    mail = _mail.setdefault(engine, {})
    places: dict[int, int] = {}
    whole: dict[int, dict[int, Output]] = {}
    try:
        for place, request in enumerate(requests):
            number = engine.add_request(request)
            places[number], whole[number], mail[number] = place, {}, deque()
        while places:
            _step(engine)
            for number in list(places):
                parts = whole[number]
                with engine.lock:
                    has_ended = not engine.runs(number)
                    while mail[number]:
                        output = mail[number].popleft()
                        parts.setdefault(output.index, Output(number, output.index)).extend(output)
                if has_ended:
                    yield places.pop(number), [parts[index] for index in sorted(parts)]
                    del whole[number], mail[number]
    finally:
        _leave(engine, places)


def complete(engine: Engine, requests: Iterable[Request]) -> list[list[Output]]:
    """The completions of every request, in the order of the requests: see `as_completed`."""
    return [outputs for _, outputs in sorted(as_completed(engine, requests), key=itemgetter(0))]


class Stream(Iterator[Output]):
    """What is new of a request's completions, step by step; it is broken off when nobody reads on.

    Errors of `Engine.add_request` come at once.
    """

    def __init__(self, engine: Engine, request: Request) -> None:
        self._engine = engine
        self._number = engine.add_request(request)
        self._mail = _mail.setdefault(engine, {}).setdefault(self._number, deque())

    def __next__(self) -> Output:
        while True:
            # Another thread's step ends a request before it has delivered its last outputs.
            with self._engine.lock:
                if self._mail:
                    return self._mail.popleft()
                if not self._engine.runs(self._number):
                    break
            _step(self._engine)
        self.close()
        raise StopIteration

    def close(self) -> None:
        """Break the request off, if it has not ended."""
        _leave(self._engine, [self._number])

    def __del__(self) -> None:
        if hasattr(self, "_number"):
            self.close()


def _step(engine: Engine) -> None:
    """A step for everybody: whoever takes it leaves the others their outputs."""
    with engine.lock:
        for output in engine.step():
            box = _mail[engine].get(output.request_id)
            if box is not None:
                box.append(output)


def _leave(engine: Engine, numbers: Iterable[int]) -> None:
    for number in list(numbers):
        engine.abort(number)
        _mail[engine].pop(number, None)
