"""A day or an instant in ISO 8601, as far as it was said. Pure."""

from datetime import date, datetime, time, timedelta

from stream_worker.stages.entities.context import Context

WEEK = timedelta(days=7)


def of_day(day: date) -> str:
    """`2026-03-05`"""
    return day.isoformat()


def of_week(day: date) -> str:
    """`2026-W10`"""
    year, week, _ = day.isocalendar()
    return f"{year:04}-W{week:02}"


def of_month(day: date) -> str:
    """`2026-03`"""
    return f"{day.year:04}-{day.month:02}"


def of_instant(moment: datetime, context: Context) -> str:
    """`2026-03-05T19:00+01:00`: a clock time is meant where the sender is."""
    here = moment.replace(tzinfo=context.now.tzinfo) if moment.tzinfo is None else moment.astimezone(context.now.tzinfo)
    return here.isoformat(timespec="minutes")


def at(day: date, clock: time) -> datetime:
    return datetime.combine(day, clock)


def local(context: Context) -> datetime:
    """The message's time on the sender's clock."""
    return context.now.replace(tzinfo=None)


def month_later(day: date, months: int) -> date:
    """The same day of another month, or its last one."""
    number = day.year * 12 + day.month - 1 + months
    year, month = divmod(number, 12)
    following = date(year + (month == 11), (month + 1) % 12 + 1, 1)
    return date(year, month + 1, min(day.day, (following - timedelta(days=1)).day))
