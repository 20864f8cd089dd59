"""Sentiment by lexicon: who is angry is heard, and who asks for something is not taken for angry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.bot.bot import HandoffRules
from stream_worker.inference.sentiment import NEGATIVE, POSITIVE, UNKNOWN, Lexicons, tempered

_COMPLAINT = HandoffRules().complaint_score


@pytest.fixture(scope="module")
def lexicons() -> Lexicons:
    return Lexicons()


@pytest.mark.parametrize("text", ["客服态度恶劣", "骗子", "你们的服务太差了", "烦死了", "垃圾产品，再也不买了"])
def test_a_chinese_complaint_is_negative(lexicons: Lexicons, text: str) -> None:
    assert lexicons.judge(text, "zh").label == NEGATIVE


@pytest.mark.parametrize(
    "text",
    [
        "北京明天天气怎么样",
        "不要后天，要周五",
        "你好，我想找一个离地铁站近一点的酒店，要有早餐和停车位，价格在四百到五百元之间，请给我推荐一家吧。",
        "好的，记下了，请问它的地址和电话是多少，附近有没有可以吃饭的餐馆，营业到几点？",
    ],
)
def test_a_chinese_request_is_no_complaint_however_long(lexicons: Lexicons, text: str) -> None:
    mood = lexicons.judge(text, "zh")
    assert not (mood.label == NEGATIVE and mood.score >= _COMPLAINT)


def test_praise_is_positive_in_both_languages(lexicons: Lexicons) -> None:
    assert lexicons.judge("质量很好，很满意", "zh").label == POSITIVE
    assert lexicons.judge("Great, thank you!", "en").label == POSITIVE


def test_a_language_without_a_lexicon_is_unknown(lexicons: Lexicons) -> None:
    assert lexicons.judge("Das ist furchtbar", "de").label == UNKNOWN


@given(probability=st.floats(0, 1), words=st.integers(1, 500))
def test_tempering_keeps_the_side_and_takes_from_the_certainty(probability: float, words: int) -> None:
    after = tempered(probability, words)
    assert 0 < after < 1
    assert abs(after - 0.5) <= abs(probability - 0.5) + 1e-9
    assert (after - 0.5) * (probability - 0.5) >= 0
