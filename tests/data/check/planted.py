"""Sound data sets of every kind, and the same with faults planted in them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

Row = Mapping[str, Any]

ENGLISH = (
    "The stone is wet and the ink is black.",
    "A brush writes on paper, slowly.",
    "Grind the stick in small circles.",
    "Water comes first, then the ink.",
    "The old master never hurries.",
    "Good paper drinks what it is given.",
)
CHINESE = (
    "磨墨者先注水,然後慢慢研磨。",
    "筆走龍蛇,墨分五色。",
    "紙上得來終覺淺,絕知此事要躬行。",
    "床前明月光,疑是地上霜。",
    "硯是文房四寶之一。",
    "大家一起寫字,好嗎?",
)
TEXTS = tuple(text for both in zip(ENGLISH, CHINESE, strict=True) for text in both)
_WORDS = sorted({word for text in ENGLISH[:4] for word in text.lower().strip(".").split()})[:13]


class Fault(NamedTuple):
    """A planted fault: a row of a split, and what is to be said of it."""

    finding: str
    row: Row | str
    split: str = "train"
    where: str | None = None
    """Where the finding is; at the row as a rule."""
    also_found: str | None = None
    """What follows from it."""
    also: tuple[Row, ...] = ()
    """Rows that belong to it, in front of it."""


@dataclass(frozen=True)
class DataSet:
    """Rows without a fault, and faults to add."""

    method: str
    model: str
    train: Sequence[Row]
    valid: Sequence[Row]
    faults: Sequence[Fault] = field(default=())
    stage: str = "finetune"

    def write(self, folder: Path, *, planted: bool) -> set[tuple[str, str]]:
        """Write `train.jsonl` and `valid.jsonl`; returns all findings and their places."""
        lines = {"train": list(map(_line, self.train)), "valid": list(map(_line, self.valid))}
        expected = set[tuple[str, str]]()
        for fault in self.faults if planted else ():
            lines[fault.split] += [_line(row) for row in (*fault.also, fault.row)]
            where = fault.where or f"{fault.split}.jsonl:{len(lines[fault.split])}"
            expected |= {(finding, where) for finding in (fault.finding, fault.also_found) if finding}
        folder.mkdir()
        for split, rows in lines.items():
            (folder / f"{split}.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
        return expected


def _line(row: Row | str) -> str:
    return row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)


def chat(*turns: str, **changes: Any) -> Row:
    """A conversation of user and assistant in turn."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[n % 2], "content": text, **changes} for n, text in enumerate(turns)]}


def labeled(text: str, label: Any) -> Row:
    return {"text": text, "label": label}


def named(text: str, *spans: tuple[int, int, str]) -> Row:
    keys = ("start", "end", "label")
    return {"text": text, "spans": [dict(zip(keys, span, strict=True)) for span in spans]}


def question(number: int | str, asked: str, context: str, answer: str, start: int | None = None) -> Row:
    place = context.index(answer) if start is None else start
    return {
        "id": f"q{number}",
        "question": asked,
        "context": context,
        "answers": {"text": [answer], "answer_start": [place]},
    }


def choice(prompt: str, chosen: str, rejected: str) -> Row:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


CHAT = DataSet(
    "chat",
    "decoder",
    [chat(f"Say it again: {text}", f"Again: {text}") for text in TEXTS]
    + [chat("3 - 5 = ?", "-2"), chat("Hello", "Hi.", "你好", "您好!")],
    [chat("35 = ?", "Thirty-five."), chat("What is ink?", "Soot and glue."), chat("墨是什麼?", "煙和膠。")],
    [
        Fault("malformed row", '{"messages": [{"role": "user", "content": "unclosed'),
        Fault("malformed row", {"text": "a column is missing"}),
        Fault("malformed row", {"messages": [{"role": "user", "content": 7}, {"role": "assistant", "content": "7"}]}),
        Fault("malformed row", {"messages": [{"role": "asistant", "content": "an unknown role"}]}),
        Fault("malformed row", {"messages": [{"role": "user", "content": word} for word in ("two", "in a row")]}),
        Fault("malformed row", chat("Nobody answers this?", "True.", "And this?")),
        Fault("malformed row", chat("This has an empty answer.", " \n")),
        Fault("duplicate row", chat(f"Say it again: {TEXTS[0]}", f"Again: {TEXTS[0]}")),
        Fault("conflicting rows", chat(f"Say it again: {TEXTS[3]}", "Never.")),
        Fault("replacement character", chat("What is gr\ufffdn in English?", "Green.")),
        Fault(
            "replacement character", _line(chat("Is this half of a pair? HALF", "It is.")).replace("HALF", "\\ud83d")
        ),
        Fault("mojibake", chat("Who drinks in a cafÃ©?", "The naïve.")),
        Fault("mojibake", chat("Translate to English.", "ç£¨å¢¨è€…")),
        Fault("control character", chat("Count the letters of ink\u200bstone.", "Eight.")),
        Fault("special token in a text", chat("Does <|im_end|> end it?", "It does.")),
        Fault("too long", chat("Go on forever.", ENGLISH[0] * 30)),
        Fault("cannot be encoded", chat("Only shown.", "Not learned.", weight=0)),
        Fault("evaluation row also in train", chat(f"Say it again: {TEXTS[4]}", "No."), "valid"),
        Fault("evaluation row almost in train", chat(f"say it  again： {TEXTS[6].upper()}!", "No."), "valid"),
        Fault("evaluation row almost in train", chat(f"Say it again: {TEXTS[5].replace(',', '，')}", "No."), "valid"),
    ],
)

LABELS = DataSet(
    "classify",
    "encoder",
    [labeled(text, "good" if n % 3 else "bad") for n, text in enumerate(TEXTS)],
    [labeled("The paper is wet.", "bad"), labeled("慢慢寫字。", "good")],
    [
        Fault("malformed row", labeled("What is not a number?", float("nan"))),
        Fault("malformed row", labeled("", "good")),
        Fault("label with a single example", labeled("The only one.", "rare")),
        Fault("labels that differ in spelling only", labeled("the master is good", "Good")),
        Fault("unknown tokens", labeled("ꙮ ꙮ ꙮ", "Good")),
        Fault(
            "labels far out of balance",
            labeled("the ink", "good"),
            also=tuple(labeled(f"{one} {other}", "good") for one in _WORDS for other in _WORDS),
            where="train",
        ),
        Fault("cannot be encoded", labeled("The stick is black.", "mixed"), "valid"),
    ],
)

SPANS = DataSet(
    "tokens",
    "encoder",
    [named(text, (0, text.index(" "), "word")) for text in ENGLISH]
    + [named(text, (0, 1, "字"), (2, 4, "word")) for text in CHINESE],
    [named("The stone.", (4, 9, "word")), named("慢慢寫字。", (0, 1, "字"))],
    [
        Fault("malformed row", named("Out of the text.", (11, 99, "word"))),
        Fault("malformed row", named("One in another.", (0, 7, "word"), (4, 14, "word"))),
        Fault(
            "span with white space at its edge",
            named("the wet stone", (3, 7, "word")),
            also_found="span that tokens cannot say",
        ),
        Fault("span that tokens cannot say", named("the master is wet", (5, 6, "word"))),
        Fault("cannot be encoded", named("the old brush", (4, 7, "age")), "valid"),
    ],
)

_CONTEXT = "Water comes first, then the ink. 先注水,然後慢慢研磨。"
QUESTIONS = DataSet(
    "span",
    "encoder",
    [
        question(1, "What comes first?", _CONTEXT, "Water"),
        question(2, "What then?", _CONTEXT, "the ink"),
        question(3, "先做什麼?", _CONTEXT, "注水"),
    ],
    [question(4, "然後?", "慢慢研磨。", "研磨")],
    [
        Fault("malformed row", question(5, "What is wet?", "The stone is wet.", "stone", start=3)),
        Fault("duplicate id", question(1, "What is black?", "The ink is black.", "ink")),
        Fault("conflicting rows", question(6, "What then?", _CONTEXT, "ink")),
    ],
)

PAIRS = DataSet(
    "pairs",
    "decoder",
    [{"source": source, "target": target} for source, target in zip(ENGLISH, CHINESE, strict=True)],
    [{"source": "Ink", "target": "墨"}],
    [
        Fault("target equals source", {"source": "not translated", "target": "not translated"}),
        Fault("malformed row", {"source": "left empty", "target": ""}),
        Fault("conflicting rows", {"source": ENGLISH[0], "target": "石頭"}),
    ],
)

PREFERENCES = DataSet(
    "dpo",
    "decoder",
    [choice(text, f"Yes, 好。 {text}", f"No. {text}") for text in TEXTS],
    [choice("Is it ink?", "It is.", "It is not.")],
    [
        Fault("malformed row", choice("Which of them?", "The same.", "The same.")),
        Fault("conflicting rows", choice(TEXTS[0], f"No. {TEXTS[0]}", f"Yes, 好。 {TEXTS[0]}")),
    ],
    stage="align",
)

JUDGED = DataSet(
    "kto",
    "decoder",
    [{"prompt": text, "completion": f"Yes: {n}", "label": n % 2 == 0} for n, text in enumerate(TEXTS)],
    [{"prompt": "Is it ink?", "completion": "It is.", "label": True}],
    [
        Fault("conflicting rows", {"prompt": TEXTS[0], "completion": "Yes: 0", "label": False}),
        Fault("malformed row", {"prompt": "Is it good?", "completion": "It may be.", "label": "perhaps"}),
    ],
    stage="align",
)

COMPLETIONS = DataSet(
    "chat",
    "decoder",
    [{"prompt": text, "completion": f" {len(text)}"} for text in TEXTS],
    [{"prompt": "ink", "completion": " 3"}],
    [Fault("malformed row", {"prompt": 7, "completion": "seven"})],
)

DATA_SETS = {
    "chat": CHAT,
    "labels": LABELS,
    "spans": SPANS,
    "questions": QUESTIONS,
    "pairs": PAIRS,
    "preferences": PREFERENCES,
    "judged": JUDGED,
    "completions": COMPLETIONS,
}

ALL_TEXTS = (
    *TEXTS,
    _CONTEXT,
    *(json.dumps(row, ensure_ascii=False) for each in DATA_SETS.values() for row in (*each.train, *each.valid)),
)
"""What an encoder's tokenizer is trained on."""
