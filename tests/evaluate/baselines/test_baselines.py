"""What each baseline predicts, by hand."""

import random

import pytest

from inkstone.core.errors import InputError
from inkstone.data.examples.records import Answer, LabeledSpans, LabeledText, Pair, Preference, Problem, Question, Span
from inkstone.evaluate.baselines.answer_overlap import FirstSentence, SimilarSentence, SimilarWindow
from inkstone.evaluate.baselines.dictionary import Dictionary
from inkstone.evaluate.baselines.leading import Lead
from inkstone.evaluate.baselines.length import Longer, Shorter
from inkstone.evaluate.baselines.majority import MajorityAnswer, MajorityClass, MeanNumber
from inkstone.evaluate.baselines.nearest import NearestPair
from inkstone.evaluate.baselines.tagger import LinearTagger, read_tags
from inkstone.evaluate.baselines.tfidf import TfidfClassifier
from inkstone.evaluate.words import token_offsets


def labeled(*pairs: tuple[str, str | float | tuple[str, ...]]) -> list[LabeledText]:
    return [LabeledText(text=text, label=label) for text, label in pairs]


def test_the_same_for_all() -> None:
    texts = labeled(("a", "x"), ("b", "y"), ("c", "y"))
    assert MajorityClass().predict(texts, texts[:2]) == ["y", "y"]
    tied = labeled(("a", "y"), ("b", "x"))
    assert MajorityClass().predict(tied, tied) == ["x", "x"]
    numbers = labeled(("a", 1.0), ("b", 2.0), ("c", 6.0))
    assert MeanNumber().predict(numbers, numbers[:1]) == [3.0]
    whole = labeled(("a", "1"), ("b", "4"))  # as a file of whole numbers is read
    assert MeanNumber().predict(whole, whole[:1]) == [2.5]
    with pytest.raises(InputError, match="the label 'good' is no number"):
        MeanNumber().predict(labeled(("a", "good")), whole)
    answers = [Problem(prompt="?", answer=each) for each in ("so #### 12", "thus\n#### 12", "\\boxed{7}", "3")]
    assert MajorityAnswer().predict(answers, answers[:2]) == ["12", "12"]


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (["nice", "lovely", "fine stay"], ["awful", "dirty room", "bad"]),
        (["很好", "不错", "喜欢"], ["太差", "很脏", "失望"]),
    ],
)
def test_words_tell_classes_apart(good: list[str], bad: list[str]) -> None:
    pytest.importorskip("sklearn")
    drawn = random.Random(0)
    lines = [
        (" ".join(drawn.choices(words, k=3)), label) for _ in range(8) for words, label in ((good, "1"), (bad, "0"))
    ]
    train = labeled(*lines)
    unseen = labeled((good[0], "?"), (bad[1], "?"))
    assert TfidfClassifier().predict(train, unseen) == ["1", "0"]


def test_pairs_and_several_classes_and_one_class_and_no_words() -> None:
    pytest.importorskip("sklearn")
    paired = [LabeledText(text="same", pair=word, label=word[0]) for word in ("apple", "berry")] * 6
    assert TfidfClassifier().predict(paired, paired[:2]) == ["a", "b"]
    several = labeled(("red", ("r",)), ("blue", ("b",)), ("red blue", ("b", "r")), ("grey", ())) * 8
    assert TfidfClassifier().predict(several, several[:4]) == [("r",), ("b",), ("b", "r"), ()]
    assert TfidfClassifier().predict(labeled(("one", "x"), ("two", "x")), labeled(("three", "y"))) == ["x"]
    assert TfidfClassifier().predict(labeled(("!", "x"), ("?", "y"), ("…", "y")), labeled(("z", "x"))) == ["y"]


def spans(text: str, *names: tuple[str, str]) -> LabeledSpans:
    found = [Span(text.index(name), text.index(name) + len(name), label) for name, label in names]
    return LabeledSpans(text=text, spans=tuple(found))


def test_dictionary_takes_the_longest_and_what_is_named_mostly() -> None:
    train = [
        spans("他在北京大学读书", ("北京大学", "school")),
        spans("北京很大", ("北京", "place")),
        spans("May I go? May is ill.", ("May is", "x")),
        spans("may day"),
        spans("Apple and apple", ("Apple", "company")),
        spans("Apple grew", ("Apple", "company")),
        spans("Apple pie", ("Apple", "fruit")),
        spans("大", ("大", "adjective")),
    ]
    test = ["北京大学在北京", "an Apple, a Pineapple", "May is", "大小大"]
    found = Dictionary().predict(train, [LabeledSpans(text=text, spans=()) for text in test])
    assert found == [
        (Span(0, 4, "school"), Span(5, 7, "place")),
        (Span(3, 8, "company"),),  # not within a longer word, and its most frequent type
        (Span(0, 6, "x"),),
        (),  # 大 is named once in its four places of training
    ]


@pytest.mark.parametrize(
    ("frames", "people", "places"),
    [
        (("{} lives in {} .", "yesterday {} left {}"), ("Ann", "Bob", "Wei"), ("Rome", "New York", "Xi'an")),
        (("{}住在{}。", "昨天{}离开{}"), ("王五", "李雷", "韩梅梅"), ("北京", "上海", "乌鲁木齐")),
    ],
)
def test_linear_tagger_learns_from_what_stands_around(
    frames: tuple[str, ...], people: tuple[str, ...], places: tuple[str, ...]
) -> None:
    drawn = random.Random(0)
    train = []
    for _ in range(40):
        person, place = drawn.choice(people), drawn.choice(places)
        train.append(spans(drawn.choice(frames).format(person, place), (person, "person"), (place, "place")))
    unknown = people[0][::-1].title() if people[0].isascii() else "李五"
    test = [spans(frame.format(unknown, places[1]), (unknown, "person"), (places[1], "place")) for frame in frames]
    assert list(LinearTagger().predict(train, test)) == [example.spans for example in test]


def test_tags_become_spans() -> None:
    offsets = [(0, 1), (1, 2), (3, 4), (5, 9), (9, 10)]
    tags = ["B-x", "I-x", "I-y", "B-y", "O"]
    assert list(read_tags(tags, offsets)) == [Span(0, 2, "x"), Span(3, 4, "y"), Span(5, 9, "y")]
    assert list(read_tags(["O", "O", "O", "I-x", "I-x"], offsets)) == [Span(5, 10, "x")]


def ask(question: str, context: str, answer: str = "") -> Question:
    answers = (Answer(answer, context.index(answer)),) if answer else ()
    return Question(id="", question=question, context=context, answers=answers)


def test_places_like_the_question() -> None:
    english = ask(
        "Who founded the town of Anhui?", "It rains a lot. The town of Anhui was founded by Bao Gong. It is wet."
    )
    chinese = ask("安徽的城是谁建的？", "天常下雨。安徽的城是包公建的。很湿。")
    assert FirstSentence().predict([], [english, chinese]) == ["It rains a lot.", "天常下雨。"]
    assert SimilarSentence().predict([], [english, chinese]) == [
        "The town of Anhui was founded by Bao Gong.",
        "安徽的城是包公建的。",
    ]
    train = [ask("?", "two words", "two words"), ask("?", "三个字的", "三个")]
    assert SimilarWindow().predict(train, [english, chinese])[1] == "包公"
    assert len(token_offsets(SimilarWindow().predict(train, [english])[0])) == 2


def test_leads_are_as_long_as_targets() -> None:
    train = [Pair(source_text="", target_text="three words here"), Pair(source_text="", target_text="一二三四五")]
    test = ["It rains. It is wet. So what?", "雨大。路滑。", "This sentence is much longer than that. Yes.", ""]
    # Targets have four words on average; of signs and words, `It rains.` has three.
    assert Lead().predict(train, [Pair(source_text=text, target_text="") for text in test]) == [
        "It rains.",
        "雨大。",
        "This sentence is much",
        "",
    ]


def test_the_nearest_pair() -> None:
    pytest.importorskip("sklearn")
    train = [
        Pair(source_text=source, target_text=target)
        for source, target in (("the red ink", "朱墨"), ("a black brush", "黑笔"))
    ]
    asked = [Pair(source_text=text, target_text="") for text in ("my brush is black", "red ink?")]
    assert NearestPair().predict(train, asked) == ["黑笔", "朱墨"]
    chinese = [Pair(source_text=pair.target_text, target_text=pair.source_text) for pair in train]
    assert NearestPair().predict(chinese, [Pair(source_text="一支笔", target_text="")]) == ["a black brush"]


def test_longer_and_shorter() -> None:
    turns = [{"role": "assistant", "content": "好的"}]
    test = [Preference(prompt="?", chosen=turns, rejected="abcd"), Preference(prompt="?", chosen="ab", rejected="a")]
    assert [margin.total for margin in Longer().predict([], test)] == [-2, 1]
    assert [margin.per_token for margin in Shorter().predict([], test)] == [2, -1]
