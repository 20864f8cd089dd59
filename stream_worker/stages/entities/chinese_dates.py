"""Dates and times in Chinese, which dateparser reads only in part. Pure.

A day ("明天", "下周五", "3月5号"), a time ("下午三点半"), or both; and what is counted from now ("三天后").
"""

import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta

from stream_worker.stages.entities.context import Context
from stream_worker.stages.entities.found import Found
from stream_worker.stages.entities.moments import WEEK, at, local, month_later, of_day, of_instant, of_month, of_week
from stream_worker.stages.entities.numbers import CHINESE_DIGITS, chinese

_DAYS = {
    "今天": 0,
    "今日": 0,
    "今儿": 0,
    "明天": 1,
    "明日": 1,
    "明儿": 1,
    "后天": 2,
    "後天": 2,
    "大后天": 3,
    "昨天": -1,
    "昨日": -1,
    "前天": -2,
    "大前天": -3,
    "今": 0,
    "明": 1,
    "昨": -1,
}
_PARTS = {
    "凌晨": 2,
    "清晨": 6,
    "早晨": 8,
    "早上": 8,
    "早": 8,
    "上午": 10,
    "中午": 12,
    "下午": 15,
    "傍晚": 18,
    "晚上": 20,
    "晚": 20,
    "夜里": 22,
    "半夜": 0,
}
_LATE = frozenset({"下午", "傍晚", "晚上", "晚", "夜里"})
_WEEKDAYS = {
    **dict(zip("一二三四五六日", range(7), strict=True)),
    "天": 6,
    "末": 5,
    **{str(number + 1): number for number in range(6)},
}
_STEPS = {"上上": -2, "上": -1, "这": 0, "這": 0, "本": 0, "下": 1, "下下": 2}
_YEARS = {"前年": -2, "去年": -1, "今年": 0, "明年": 1, "后年": 2}

_NUMBER = rf"(?:\d+|[{CHINESE_DIGITS}廿]+)"
_PART = "|".join(sorted(_PARTS, key=len, reverse=True))
_DAY = rf"""
    (?:(?P<year>\d{{4}}|[{CHINESE_DIGITS[:11]}]{{4}}|{"|".join(_YEARS)})年?)?(?P<month>{_NUMBER})月(?:份|(?P<dom>{_NUMBER})[日号號]?)?
  | (?P<iso>\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}})
  | (?P<near>大后天|大前天|今天|今日|今儿|明天|明日|明儿|后天|後天|昨天|昨日|前天)
  | (?P<short>[今明昨])(?=[晚早])
  | (?P<step>上上|下下|[上下这這本])?个?(?:周|週|星期|礼拜)(?P<weekday>[一二三四五六日天末1-6])
  | (?P<only>{_NUMBER})[号號日](?!楼|线|门)
"""
_TIME = rf"""
    (?P<part>{_PART})?\s*(?:(?P<clock>\d{{1,2}}[:：]\d{{2}})
      | (?P<hour>{_NUMBER})[点點时](?!\d*[{CHINESE_DIGITS}]*[个個])
        (?:钟|鐘|整|(?P<half>半)|(?P<quarter>[一三])刻|(?P<minute>{_NUMBER})分?)?)
  | (?P<alone>{_PART})
"""
_EXPRESSION = re.compile(rf"(?:{_DAY})(?:[的\s,，]*(?:{_TIME}))?", re.VERBOSE)
_CLOCK = re.compile(_TIME, re.VERBOSE)
_UNTIL = re.compile(rf"[到至~—-]({_TIME})", re.VERBOSE)
_UNITS = {
    "秒": "seconds",
    "分钟": "minutes",
    "分": "minutes",
    "小时": "hours",
    "钟头": "hours",
    "天": "days",
    "日": "days",
    "周": "weeks",
    "星期": "weeks",
    "礼拜": "weeks",
    "月": "months",
    "年": "years",
}
_COUNTED = re.compile(
    rf"(?P<number>{_NUMBER}|半)[个個]?(?P<half>半)?(?P<unit>秒|分钟|分|小时|钟头|天|日|周|星期|礼拜|月|年)(?P<more>半)?"
    r"[之以]?(?P<way>后|後|前)(?![天日年])"
)
_WHOLE = re.compile(
    rf"(?P<step>上上|下下|[上下这這本])个?(?P<unit>周|星期|礼拜|月)(?![{CHINESE_DIGITS}天末\d])|(?P<year>{'|'.join(_YEARS)})"
)
_HALVES = {"hours": timedelta(minutes=30), "days": timedelta(hours=12), "minutes": timedelta(seconds=30)}


def chinese_dates(text: str, context: Context) -> list[Found]:
    """All readings; they may overlap."""
    now = local(context)
    found = list(_ranges(text, now, context))
    readings = [(_EXPRESSION, _of_day), (_COUNTED, _counted), (_WHOLE, _whole), (_CLOCK, _of_clock)]
    for pattern, read in readings:
        for match in pattern.finditer(text):
            try:
                value = read(match, now, context)
            except (ValueError, OverflowError):  # a 40th of a month, a year beyond the calendar
                continue
            if value is not None:
                end = match.start() + len(match[0].rstrip(" ,，的"))
                found.append(Found(match.start(), end, value))
    return found


def _ranges(text: str, now: datetime, context: Context) -> Iterator[Found]:
    """The end of "明天下午三点到五点" is on the day of its beginning, and in the same part of it."""
    for match in _EXPRESSION.finditer(text):
        until = _UNTIL.match(text, match.end())
        if until is None or until["alone"] or not (match["hour"] or match["clock"]):
            continue
        try:
            begun, clock = _time_of(match), _time_of(until, match["part"])
            if begun is not None and clock is not None:
                day = _day_of(match, now, begun)
                yield Found(until.start(1), until.end(1), _on(day, clock, context))
        except (ValueError, OverflowError):
            continue


def _of_day(match: re.Match[str], now: datetime, context: Context) -> str | None:
    clock = _time_of(match)
    if match["month"] and not match["dom"]:
        month = _int(match["month"])
        first = date(_year(match["year"], now), month, 1)
        if match["year"] is None and (first.year, first.month) < (now.year, now.month):
            first = first.replace(year=first.year + 1)
        return of_month(first)
    day = _day_of(match, now, clock)
    if clock is None:
        return of_day(day)
    return _on(day, clock, context)


def _on(day: date, clock: tuple[int, int], context: Context) -> str:
    return of_instant(at(day, time()) + timedelta(hours=clock[0], minutes=clock[1]), context)


def _day_of(match: re.Match[str], now: datetime, clock: tuple[int, int] | None) -> date:
    today = now.date()
    if match["iso"]:
        year, month, day = map(int, re.split(r"[-/.]", match["iso"]))
        return date(year, month, day)
    if match["month"]:
        dated = date(_year(match["year"], now), _int(match["month"]), _int(match["dom"]))
        return dated if match["year"] or dated >= today else dated.replace(year=dated.year + 1)
    if near := match["near"] or match["short"]:
        return today + timedelta(days=_DAYS[near])
    if match["only"]:
        dated = today.replace(day=_int(match["only"]))
        return dated if dated >= today else month_later(dated, 1)
    monday = today - timedelta(days=today.weekday())
    dated = monday + timedelta(days=_WEEKDAYS[match["weekday"]]) + _STEPS.get(match["step"], 0) * WEEK
    if match["step"] is None:
        later = clock is not None and clock > (now.hour, now.minute)
        dated = dated if dated > today or (dated == today and later) else dated + WEEK
    return dated


def _time_of(match: re.Match[str], part_before: str | None = None) -> tuple[int, int] | None:
    """Hours, which may be 24, and minutes; None where no time is said."""
    part = match["part"] or part_before
    if match["alone"]:
        return _PARTS[match["alone"]], 0
    if match["clock"]:
        hour, minute = map(int, re.split("[:：]", match["clock"]))
    elif match["hour"]:
        hour = _int(match["hour"])
        quarter = {"一": 15, "三": 45}.get(match["quarter"] or "", 0)
        minute = 30 if match["half"] else quarter or (_int(match["minute"]) if match["minute"] else 0)
    else:
        return None
    if hour > 24 or minute > 59:
        raise ValueError("no such time")
    if part in _LATE or (part == "中午" and hour < 3):
        hour += 12 if hour < 12 else 12 if hour == 12 and part in ("晚上", "晚", "夜里") else 0
    elif part in ("凌晨", "半夜") and hour == 12:
        hour = 0
    return hour, minute


def _of_clock(match: re.Match[str], now: datetime, context: Context) -> str | None:
    """A time without a day is the next such time; a part of the day alone says too little."""
    clock = _time_of(match)
    if clock is None or match["alone"]:
        return None
    moment = at(now.date(), time()) + timedelta(hours=clock[0], minutes=clock[1])
    # "五点" said in the morning is five in the afternoon; with a part of the day, or as 05:00, it is what it says.
    step = timedelta(hours=12) if match["hour"] and not match["part"] and clock[0] <= 12 else timedelta(days=1)
    while moment <= now:
        moment += step
    return of_instant(moment, context)


def _counted(match: re.Match[str], now: datetime, context: Context) -> str | None:
    unit, sign = _UNITS[match["unit"]], -1 if match["way"] == "前" else 1
    half = match["half"] or match["more"] or match["number"] == "半"
    count = 0 if match["number"] == "半" else _int(match["number"])
    if unit in ("months", "years"):
        months = count * (12 if unit == "years" else 1) + (6 if half and unit == "years" else 0)
        return of_day(month_later(now.date(), sign * months))
    step = timedelta(**{unit: count}) + (_HALVES.get(unit, timedelta()) if half else timedelta())
    if unit in ("days", "weeks") and not half:
        return of_day(now.date() + sign * step)
    return of_instant(now + sign * step, context)


def _whole(match: re.Match[str], now: datetime, _: Context) -> str | None:
    if match["year"]:
        return f"{now.year + _YEARS[match['year']]:04}"
    step = _STEPS[match["step"]]
    if match["unit"] == "月":
        return of_month(month_later(now.date().replace(day=1), step))
    return of_week(now.date() + step * WEEK)


def _year(said: str | None, now: datetime) -> int:
    if said is None:
        return now.year
    return now.year + _YEARS[said] if said in _YEARS else _int(said)


def _int(said: str) -> int:
    if said.isdigit():
        return int(said)
    if len(said) == 4 and not set(said) & set("十百千万"):  # 二〇二六
        return int("".join(str("零一二三四五六七八九".index(one.replace("〇", "零"))) for one in said))
    value = chinese(said)
    if value is None:
        raise ValueError("no number")
    return int(value)
