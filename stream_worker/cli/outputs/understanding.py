"""The understanding: what is made of a text, how good that is, and what is wrong with examples."""

from dataclasses import dataclass

from stream_worker.contracts.analysis import IntentEvidence, SentimentEvidence


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotFound:
    name: str
    """The slot."""

    value: str
    """Its value, as it stands in the text."""

    start: int
    """First code point in the text."""

    end: int
    """Code point after its last."""

    score: float
    """Its probability."""

    role: str | None
    """Its role, where the examples have roles."""

    group: str | None
    """Its group, where the examples have groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityFound:
    name: str
    """Its kind, or the name that was given with the expression."""

    value: str
    """What it means, in the kind's normal form."""

    start: int
    """First code point in the text."""

    end: int
    """Code point after its last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderstoodText:
    text: str
    """The line, as it was read."""

    language: str
    """Its language: ISO 639-1."""

    intents: list[IntentEvidence]
    """Every intent's score, the best first."""

    scope: float
    """How likely it is that the bot is meant to answer this."""

    in_scope: bool
    """Whether that is enough."""

    slots: list[SlotFound]
    """The slots, in the order of the text."""

    sentiment: SentimentEvidence
    """Its sentiment."""

    intent: str | None
    """The best intent; null where the text is out of scope."""

    entities: list[EntityFound]
    """What was recognised without examples, of the kinds that `--entity` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WordEvidence:
    text: str
    """The word."""

    start: int
    """First code point in the text."""

    end: int
    """Code point after its last."""

    weight: float
    """From -1 to 1: how much it spoke for the decision; negative: against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionExplained:
    decision: str
    """`intent`, `scope` or `slot`."""

    outcome: str
    """What was decided."""

    method: str
    """How the shares were found: `gradient_x_input` or `occlusion`."""

    words: list[WordEvidence]
    """The words and their shares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextExplained:
    """Which words of a text spoke for which decision."""

    text: str
    """The text."""

    decisions: list[DecisionExplained]
    """The best intent, the scope, and with `--method occlusion` each slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleFinding:
    kind: str
    """What kind of fault it is."""

    place: str
    """File and line."""

    what: str
    """What is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How well one intent or slot is understood."""

    kind: str
    """`intent` or `slot`."""

    name: str
    """Its name."""

    examples: int
    """How many examples have it."""

    precision: float
    """The part of what was found that is right."""

    recall: float
    """The part of what is there that was found."""

    f1: float
    """The harmonic mean of the two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopePoint:
    rejected: float
    """The part of messages in scope that is taken for others."""

    found: float
    """The part of the others that is found then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeFigures:
    """How well messages are found that are not for this bot."""

    area_under_roc: float
    """1 is perfect, 0.5 is chance."""

    found_at_3_percent_rejected: float
    """The part of them that is found where 3% of the messages in scope are taken for others."""

    rejected: float
    """The part of messages in scope that is taken for others, as it is set."""

    found: float
    """The part of the others that is found, as it is set."""

    curve: list[ScopePoint]
    """Both, over all thresholds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """Messages whose best intent has a score between two bounds."""

    low: float
    """The lower bound."""

    high: float
    """The upper bound."""

    count: int
    """How many there are."""

    score: float
    """Their mean score."""

    right: float
    """The part of them that is right; as the score where it is calibrated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confused:
    expected: str
    """What the example says."""

    found: str
    """What was understood."""

    count: int
    """How often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFigures:
    """The same examples in the last run and in this one."""

    examples: int
    """How many are in both."""

    gained: int
    """How many are right now and were not."""

    lost: int
    """How many were right and are not now."""

    p: float
    """McNemar's test: how likely such a difference is by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationFigures:
    """How well examples are understood."""

    format: int
    """Of the kept file."""

    model: str
    """The folder of what was learnt."""

    encoder: str
    """The encoder that it was learnt on."""

    folds: int
    """How often it was trained anew; 0 asks what was learnt."""

    examples: int
    """How many were asked."""

    accuracy: float
    """The part whose intent, or being out of scope, is right."""

    accuracy_in_scope: float
    """The same of those in scope."""

    slot_f1: float
    """F1 over all slots."""

    calibration_error: float
    """How far scores and shares of right answers lie apart."""

    milliseconds_a_message: float
    """How long one took, in batches."""

    out_of_scope: ScopeFigures | None
    """Null where no example is out of scope."""

    reliability: list[ReliabilityBin]
    """Scores against shares of right answers."""

    scores: list[Score]
    """Each intent and each slot."""

    confusion: list[Confused]
    """Every pair of what was expected and what was found."""

    change: ChangeFigures | None
    """Since the last run; null where there was none of the same examples."""
