"""What is recognised without examples: where it stands, what it means, and that only text and context decide."""

import time
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_worker.bot.entities import Entity, EntityKind, expression_error
from stream_worker.orders import SlotSpan
from stream_worker.stages.entities.context import Context, context_of
from stream_worker.stages.entities.moments import month_later
from stream_worker.stages.entities.recogniser import MOST_CHARACTERS, recognise

WEDNESDAY = int(datetime(2026, 3, 4, 9, 0, tzinfo=UTC).timestamp() * 1000)
ALL = (*(Entity(kind.value, kind) for kind in EntityKind), Entity("order_id", r"\bORD-?(\d{4,})"))
NEW_YORK = context_of(WEDNESDAY, "en", locale="en-US", zone="America/New_York")
SHANGHAI = context_of(WEDNESDAY, "zh", zone="Asia/Shanghai")
BERLIN = context_of(WEDNESDAY, "de", zone="Europe/Berlin")


def found(text: str, context: Context, entities: tuple[Entity, ...] = ALL) -> list[tuple[str, str, str]]:
    return [(one.name, text[one.start : one.end], one.value) for one in recognise(entities, text, context)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "for two tomorrow at 7pm for 3 hours",
            [
                ("number", "two", "2"),
                ("date", "tomorrow at 7pm", "2026-03-05T19:00-05:00"),
                ("duration", "3 hours", "PT3H"),
            ],
        ),
        ("tomorrow at 7", [("date", "tomorrow at 7", "2026-03-05T07:00-05:00")]),
        (
            "2026-04-05 14:30 or 5/3/2026",
            [("date", "2026-04-05 14:30", "2026-04-05T14:30-04:00"), ("date", "5/3/2026", "2026-05-03")],
        ),
        (
            "in 3 days, the day after tomorrow",
            [("date", "in 3 days", "2026-03-07"), ("date", "day after tomorrow", "2026-03-06")],
        ),
        (
            "in half an hour; this weekend",
            [("date", "in half an hour", "2026-03-04T04:30-05:00"), ("date", "this weekend", "2026-03-07")],
        ),
        (
            "march 5th at noon, Jan 5",
            [("date", "march 5th at noon", "2026-03-05T12:00-05:00"), ("date", "Jan 5", "2027-01-05")],
        ),
        ("at midnight in Panama", [("date", "midnight", "2026-03-05T00:00-05:00")]),
        ("a new one, and one more", [("number", "one", "1")]),
        ("next week", [("date", "next week", "2026-W11")]),
        ("from friday to sunday", [("date", "friday", "2026-03-06"), ("date", "sunday", "2026-03-08")]),
        ("may I sit in the sun now?", []),
        ("an hour and a half", [("duration", "an hour and a half", "PT1H30M")]),
        ("2 hours and 30 minutes", [("duration", "2 hours and 30 minutes", "PT2H30M")]),
        (
            "$12.50, 20 euros, £5, 20 bucks",
            [
                ("money", "$12.50", "12.5 USD"),
                ("money", "20 euros", "20 EUR"),
                ("money", "£5", "5 GBP"),
                ("money", "20 bucks", "20 USD"),
            ],
        ),
        (
            "1,234.56 and -5, one hundred and two",
            [("number", "1,234.56", "1234.56"), ("number", "-5", "-5"), ("number", "one hundred and two", "102")],
        ),
        (
            "call 212-555-0123 or +44 20 7946 0958",
            [("phone", "212-555-0123", "+12125550123"), ("phone", "+44 20 7946 0958", "+442079460958")],
        ),
        (
            "Bob@Example.COM, see Example.com/A?b=1.",
            [("email", "Bob@Example.COM", "Bob@example.com"), ("url", "Example.com/A?b=1", "http://example.com/A?b=1")],
        ),
        ("order ORD-12345", [("order_id", "12345", "12345")]),
    ],
)
def test_english(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert found(text, NEW_YORK) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "明天下午三点到五点，两个人",
            [
                ("date", "明天下午三点", "2026-03-05T15:00+08:00"),
                ("date", "五点", "2026-03-05T17:00+08:00"),
                ("number", "两", "2"),
            ],
        ),
        ("下周五，2026年4月5日", [("date", "下周五", "2026-03-13"), ("date", "2026年4月5日", "2026-04-05")]),
        ("后天早上八点半提醒我", [("date", "后天早上八点半", "2026-03-06T08:30+08:00")]),
        ("三天后，半小时以后", [("date", "三天后", "2026-03-07"), ("date", "半小时以后", "2026-03-04T17:30+08:00")]),
        ("晚上12点", [("date", "晚上12点", "2026-03-05T00:00+08:00")]),
        ("六点见", [("date", "六点", "2026-03-04T18:00+08:00")]),
        ("二〇二六年三月", [("date", "二〇二六年三月", "2026-03")]),
        ("2月30号", [("number", "2", "2"), ("number", "30", "30")]),
        ("一个半小时，两个小时", [("duration", "一个半小时", "PT1H30M"), ("duration", "两个小时", "PT2H")]),
        (
            "三百二十块，￥99.5，100美元",
            [("money", "三百二十块", "320 CNY"), ("money", "￥99.5", "99.5 CNY"), ("money", "100美元", "100 USD")],
        ),
        ("一起等一下，十分感谢", []),
        ("有一亿三和三十零，一共三百二", [("number", "三百二", "320")]),
        (
            "手机13812345678，写信给bob@x.org谢谢",
            [("phone", "13812345678", "+8613812345678"), ("email", "bob@x.org", "bob@x.org")],
        ),
        ("看https://a.com/b。谢谢", [("url", "https://a.com/b", "https://a.com/b")]),
    ],
)
def test_chinese(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert found(text, SHANGHAI) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("morgen um 15 Uhr", [("date", "morgen um 15 Uhr", "2026-03-05T15:00+01:00")]),
        ("am 5. März oder 5.4.2026", [("date", "5. März", "2026-03-05"), ("date", "5.4.2026", "2026-04-05")]),
        ("1.234,50 € für drei Stunden", [("money", "1.234,50 €", "1234.5 EUR"), ("duration", "drei Stunden", "PT3H")]),
    ],
)
def test_german(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert found(text, BERLIN) == expected


def test_a_date_is_meant_where_and_when_it_was_written() -> None:
    late = WEDNESDAY + 10 * 3_600_000  # 19:00 UTC: already Thursday in Tokyo
    tokyo, london = (context_of(late, "en", zone=zone) for zone in ("Asia/Tokyo", "Europe/London"))
    assert found("today", tokyo) == [("date", "today", "2026-03-05")]
    assert found("today", london) == [("date", "today", "2026-03-04")]
    british = context_of(WEDNESDAY, "en", locale="en-GB", zone="Europe/London")
    assert found("5/3/2026, 3 pounds", british) == [("date", "5/3/2026", "2026-03-05"), ("money", "3 pounds", "3 GBP")]
    assert found("5 dollars", context_of(WEDNESDAY, "en", region="CA")) == [("money", "5 dollars", "5 CAD")]


def test_a_number_in_something_larger_is_a_part_of_it() -> None:
    numbers = (Entity("number", EntityKind.NUMBER),)
    assert found("3 hours", NEW_YORK, numbers) == [("number", "3", "3")]
    assert found("3 hours", NEW_YORK) == [("duration", "3 hours", "PT3H")]


_WORDS = """tomorrow;at 7pm;next;friday;3;days;in;ago;$;12.50;euros;bob@x.org;www.a.com;+49 30 901820;half an hour;two;
明天;下午;三点;半;三百;块;个;小时;后;13812345678;ORD-12345;a;周五;2月30号;9999;-;,;.;🎉;٣;²;mañana;März;Uhr;99:99;0;年;万亿"""
_PIECES = st.sampled_from([*_WORDS.split(";"), "\ud800"])
_TEXTS = st.one_of(st.text(), st.lists(_PIECES, max_size=12).map(" ".join), st.lists(_PIECES, max_size=12).map("".join))
_CONTEXTS = st.builds(
    context_of,
    st.integers(0, 4_000_000_000_000),
    st.sampled_from(["en", "zh", "de", "es", "fr", "ja", "hi", "ru", "xx"]),
    locale=st.sampled_from([None, "en-GB", "zh_TW", "x", "de-CH"]),
    zone=st.sampled_from(["UTC", "America/New_York", "Asia/Shanghai"]),
)


@settings(deadline=None, max_examples=150)  # the tables of a language are loaded when it is first needed
@given(_TEXTS, _CONTEXTS)
def test_spans_are_of_the_text_and_do_not_overlap(text: str, context: Context) -> None:
    spans = recognise(ALL, text, context)
    assert all(0 <= one.start < one.end <= len(text) and one.value for one in spans)
    assert all(one.end <= other.start for one, other in pairwise(spans))
    assert recognise(ALL, text, context) == spans


@settings(deadline=None, max_examples=150)  # the tables of a language are loaded when it is first needed
@given(_TEXTS, _CONTEXTS)
def test_values_are_in_their_normal_form(text: str, context: Context) -> None:
    for one in recognise(ALL, text, context):
        assert _again(one, context) in (None, one.value)


def _again(span: SlotSpan, context: Context) -> str | None:
    """The value, read as a text; None for a form that people do not write."""
    match span.name:
        case "date":
            assert _is_iso(span.value)
            return None
        case "duration":
            assert span.value.startswith("P")
            return None
        case "number" | "money" | "phone" | "email" | "url":
            # Where "," divides and "." groups, 1.001 would be read as 1001.
            region = context.region if span.name == "phone" else "US"
            english = context_of(WEDNESDAY, "en", region=region)
            spans = recognise((Entity(span.name, EntityKind(span.name)),), span.value, english)
            return spans[0].value if len(spans) == 1 else None
    return None


def _is_iso(value: str) -> bool:
    if "T" in value:
        return datetime.fromisoformat(value).isoformat(timespec="minutes") == value
    if "W" in value:
        return len(value) == 8 and date.fromisoformat(f"{value}-1").isocalendar()[1] == int(value[-2:])
    return len(value) in (4, 7) or date.fromisoformat(value).isoformat() == value


def test_the_clock_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "tomorrow at 7pm, in 3 days, friday, march 5th, 7:30 pm"
    before = found(text, NEW_YORK)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        assert found(text, NEW_YORK) == before
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "piece", ["1", "a1.b@", "tomorrow ", "三百", "1-", "+49 30 ", "明天下午三点到", "$1 ", "half an hour ", "a"]
)
def test_only_the_beginning_of_a_long_text_is_looked_at(piece: str) -> None:
    long = piece * (1_000_000 // len(piece))
    entities = (*ALL, Entity("slow", r"(a+)+$"))
    for context in (NEW_YORK, SHANGHAI):
        assert recognise(entities, long, context) == recognise(entities, long[:MOST_CHARACTERS], context)


def test_an_expression_that_would_take_for_ever_does_not_and_one_that_could_is_refused() -> None:
    assert found("a" * 1_999 + "b", NEW_YORK, (Entity("slow", "(a+)+$"),)) == []
    assert expression_error("(a+)+$") is None
    assert expression_error(r"(a)\1") is not None


@given(st.dates(date(1900, 1, 31), date(2100, 1, 1)), st.integers(-1_000, 1_000))
def test_months_later_keep_the_day_or_end_the_month(day: date, months: int) -> None:
    later = month_later(day, months)
    assert (later.year * 12 + later.month) - (day.year * 12 + day.month) == months
    assert later.day == day.day or (later + timedelta(days=1)).day == 1
