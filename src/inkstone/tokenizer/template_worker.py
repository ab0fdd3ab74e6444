"""The process that renders chat templates: a template is a program by a stranger, so it runs where it can be stopped.

Run as a file, with nothing but the standard library and Jinja. A request is one line of JSON on standard input, the
answer one line on standard output. The kernel ends the process when a request takes more processor time, or more
memory, than it may: that also stops what Python cannot interrupt, such as the power of two large numbers.
"""

import contextlib
import json
import resource
import signal
import sys
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment


class GenerationBlock(Extension):
    """``{% generation %}`` marks an assistant's words in templates made for training; it renders what is inside."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        """Make the block a call that notes where its words stand."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Macro) -> str:
        words = caller()
        start = self.environment.num_rendered  # type: ignore[attr-defined]
        self.environment.generation_spans.append((start, start + len(words)))  # type: ignore[attr-defined]
        return words


def render(template: str, variables: dict[str, Any], max_characters: int) -> dict[str, Any]:
    """Render one conversation: its text and the spans of characters inside ``{% generation %}``."""
    compiled = _compile(template)
    environment: Any = compiled.environment
    environment.num_rendered, environment.generation_spans = 0, []
    parts = []
    for part in compiled.generate(variables):
        parts.append(part)
        environment.num_rendered += len(part)
        if environment.num_rendered > max_characters:
            return {"limit": f"it writes more than {max_characters:,} characters"}
    return {"text": "".join(parts), "spans": environment.generation_spans}


@lru_cache(maxsize=16)
def _compile(template: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, GenerationBlock]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda pattern: datetime.now().astimezone().strftime(pattern)
    return environment.from_string(template)


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def answer(request: dict[str, Any]) -> list[dict[str, Any]]:
    """What the renderings of a request come to, up to the first that fails."""
    variables, answers = request["variables"], list[dict[str, Any]]()
    for num_messages, add_generation_prompt in request["beginnings"]:
        beginning = {"messages": variables["messages"][:num_messages], "add_generation_prompt": add_generation_prompt}
        answers.append(_render_bounded(request, variables | beginning))
        if "text" not in answers[-1]:
            break
    return answers


def _render_bounded(request: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
    """Text and spans, a limit that was run into, or an error."""
    signal.setitimer(signal.ITIMER_PROF, request["max_seconds"])
    try:
        return render(request["template"], variables, request["max_characters"])
    except (MemoryError, RecursionError, OverflowError) as error:
        return {"limit": f"it needs more memory or deeper recursion than it may ({type(error).__name__})"}
    except Exception as error:  # noqa: BLE001  a template may raise anything
        return {"error": str(error) or type(error).__name__}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main(max_bytes: int) -> None:
    """Answer requests until standard input ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # macOS knows the limit but cannot set it
        resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(json.dumps(answer(json.loads(line))).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
