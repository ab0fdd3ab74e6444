import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from inkstone.data.characters import SHORT, profile
from inkstone.data.language import guess_language, normal_language

MIXED = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("雪落ab, 1\n。かナ한é𠀀😀葛\U000e0100"))
)


@given(MIXED)
def test_letters_digits_and_spaces_agree_with_unicodedata(text: str) -> None:
    counts = profile(text)
    categories = [unicodedata.category(character) for character in text]
    is_space = [character.isspace() for character in text]
    han = [unicodedata.name(character, "").startswith("CJK UNIFIED IDEOGRAPH") for character in text]
    assert counts.total == len(text)
    assert counts.space == sum(is_space)
    assert counts.digits == sum(category == "Nd" for category in categories)
    assert counts.han >= sum(han)
    special = sum(character in "〇々" for character in text)
    letters = sum(category[0] in "LM" for category in categories)
    unassigned = sum(category in ("Cn", "Co", "Nl", "So", "Zs", "Po", "Pd", "Sk") for category in categories)
    assert letters <= counts.letters + special
    assert counts.letters <= letters + unassigned


@given(MIXED.filter(bool))
def test_short_and_long_texts_are_counted_alike(text: str) -> None:
    times = SHORT // len(text) + 2
    short, long = profile(text), profile(text * times)
    if len(text) <= SHORT:
        assert list(long) == [count * times for count in short]


def test_languages_are_guessed_from_the_script() -> None:
    assert guess_language("微哉！") == "zh"
    assert (
        guess_language("The cat sat on the mat, and it was a very good cat as cats go in this part of the world.")
        == "en"
    )
    assert guess_language("Hello") == "en"
    assert guess_language("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。") == "other"
    assert guess_language("모든 국민은 인간으로서의 존엄과 가치를 가진다.") == "other"
    assert guess_language("Все счастливые семьи похожи друг на друга") == "other"
    assert (
        guess_language(
            "Als Gregor Samsa eines Morgens aus unruhigen Träumen erwachte, fand er sich in seinem Bett " * 2
        )
        == "other"
    )
    assert guess_language("12345 ...") == "other"
    assert guess_language("我们用 PyTorch 的 torch.compile 训练 GPT 模型，batch size 是 64。") == "zh"


def test_language_names_are_normalized() -> None:
    assert [normal_language(name) for name in ("zh-CN", "ZH", "zh_Hant", "zho", "English", "fr")] == [
        "zh",
        "zh",
        "zh",
        "zh",
        "en",
        "fr",
    ]
