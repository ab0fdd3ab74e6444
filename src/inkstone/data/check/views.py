"""Examples of every kind as the check compares them: texts, what is asked, what is answered."""

from typing import NamedTuple

from inkstone.data.examples.records import (
    Chat,
    Completion,
    Example,
    Judged,
    LabeledSpans,
    LabeledText,
    Pair,
    Preference,
    Problem,
    Question,
    Text,
    conversation_text,
    turn_text,
)


class View(NamedTuple):
    """An example, whatever its kind."""

    texts: list[Text]
    prompt: str
    """What the model is given (`input_key`). When it is in the training and in the evaluation data, it leaks."""
    question: str
    """What rows have in common that contradict each other if their answers differ: as a rule the prompt."""
    answer: Text
    """Empty of kinds that have none."""


def view_of(example: Example) -> View:
    """The view of an example."""
    prompt = question = example.input_key
    match example:
        case Preference():
            sides = [conversation_text(side) for side in (example.chosen, example.rejected)]
            question = "\n".join([prompt, *sorted(sides)])
        case Judged():
            question = "\n".join([prompt, conversation_text(example.completion)])
    return View(example.texts(), prompt, question, _answer(example))


def _answer(example: Example) -> Text:
    match example:
        case Chat():
            said = (turn_text(turn) for turn in example.messages if turn["role"] == "assistant")
            return Text("answer", "\n".join(said))
        case Completion():
            return Text("completion", example.completion)
        case LabeledText():
            label = example.label
            return Text("label", ", ".join(sorted(label)) if isinstance(label, tuple) else str(label))
        case LabeledSpans():
            named = (f"{example.text[start:end]} ({label})" for start, end, label in example.spans)
            return Text("spans", ", ".join(named))
        case Question():
            return Text("answer", ", ".join(sorted({answer.text for answer in example.answers})))
        case Pair():
            return Text("target", example.target_text)
        case Preference():
            return Text("choice", conversation_text(example.chosen))
        case Judged():
            return Text("judgment", "desirable" if example.desirable else "undesirable")
        case Problem():
            return Text("answer", example.answer or "")
    return Text("answer", "")
