"""How things end: closed lists that records, metrics and the ledger share."""

from enum import StrEnum


class Outcome(StrEnum):
    """How an event ended. Every settled event has exactly one."""

    REPLIED = "replied"
    MERGED = "merged"
    SILENT = "silent"
    DUPLICATE = "duplicate"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    SHED = "shed"
    DEAD_LETTERED = "dead_lettered"


class FinishReason(StrEnum):
    """Why a reply's text ended where it did."""

    STOP = "stop"
    LENGTH = "length"
    TEMPLATE = "template"
    FALLBACK = "fallback"
    REFUSED = "refused"
    REDACTED = "redacted"


class DeadLetterReason(StrEnum):
    """Why an event could not be answered. The list is closed: dashboards and redrive filters rely on it."""

    NO_KEY = "no_key"
    WRONG_KEY = "wrong_key"
    NO_VALUE = "no_value"
    INVALID_ENCODING = "invalid_encoding"
    INVALID_JSON = "invalid_json"
    INVALID_EVENT = "invalid_event"
    INVALID_HEADERS = "invalid_headers"
    UNKNOWN_TYPE = "unknown_type"
    UNSUPPORTED_CONTENT_TYPE = "unsupported_content_type"
    NO_TENANT = "no_tenant"
    NO_BOT = "no_bot"
    UNKNOWN_TRIGGER = "unknown_trigger"
    TOO_LARGE = "too_large"
    PROMPT_TOO_LONG = "prompt_too_long"
    SCHEMA_NOT_MET = "schema_not_met"
    REFUSED_BY_ENGINE = "refused_by_engine"
    TEMPLATE_FAILED = "template_failed"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    TURN_TIMEOUT = "turn_timeout"
    REFUSED_BY_BROKER = "refused_by_broker"
    SUSPECTED_CRASH = "suspected_crash"


class FallbackReason(StrEnum):
    """Why an engine took a slower path than the fastest it has."""

    NO_COMPILER = "no_compiler"
    BUILD_FAILED = "build_failed"
    CPU = "cpu"
    DEVICE = "device"
    ARCHITECTURE = "architecture"
    DTYPE = "dtype"
    ATTENTION = "attention"


#: Outcomes whose event ids are remembered: a later copy of the event is a duplicate.
REMEMBERED = frozenset({Outcome.REPLIED, Outcome.MERGED, Outcome.SILENT, Outcome.WITHDRAWN})
