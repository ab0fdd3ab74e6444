"""Chat templates: conversations rendered to the text a model was trained on."""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from inkstone.core.errors import InputError
from inkstone.core.records import Message

CHATML = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The template of tokenizers trained here (OpenAI's ChatML), after the token that begins every document."""


def render_chat(template: str, messages: Sequence[Message], *, add_generation_prompt: bool, **variables: Any) -> str:
    """Render a conversation with a Hugging Face chat template, in a sandbox that cannot change or reach anything.

    Args:
        template: Jinja source.
        messages: the conversation.
        add_generation_prompt: end with what begins an assistant's turn.
        **variables: further names the template may use, such as ``bos_token``.

    Raises:
        InputError: the template is malformed or refuses this conversation.
    """
    try:
        return _compile(template).render(
            messages=[{"role": message.role, "content": message.content} for message in messages],
            add_generation_prompt=add_generation_prompt,
            tools=None,
            documents=None,
            **variables,
        )
    except TemplateError as error:
        raise InputError(
            f"the chat template cannot render this conversation: {error}",
            remedy="check the roles and their order, or the tokenizer's chat_template.jinja",
        ) from error


class _GenerationBlock(Extension):
    """``{% generation %}`` marks an assistant's words in templates made for training; it renders what is inside."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@lru_cache(maxsize=16)
def _compile(template: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _GenerationBlock]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda pattern: datetime.now().astimezone().strftime(pattern)
    return environment.from_string(template)


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)
