"""Sentiment of a message by lexicon, where no examples trained one: VADER for English, SnowNLP for Chinese.

Neither knows the bot's business: VADER counts words of a list, SnowNLP learnt from shop reviews. Other languages are
`unknown`. Hutto and Gilbert, 2014 (VADER).

SnowNLP's naive Bayes takes each word for a witness of its own, so that a long request without any mood is surely
negative. Its odds are tempered by the root of the number of words, as those of witnesses that repeat each other.
"""

import math
from collections.abc import Callable

from stream_worker.inference.words import is_unspaced
from stream_worker.orders import Sentiment

NEGATIVE, NEUTRAL, POSITIVE, UNKNOWN = "negative", "neutral", "positive", "unknown"

_CHARACTERS = 2_000
"""The sentiment is read off the first so many: both libraries take time that grows with the text."""

_VADER_NEUTRAL = 0.05
"""The authors' bound of the compound score."""

_SNOW = (0.25, 0.65)
"""Of its probability that a text is positive, tempered; shop reviews are seldom neutral, messages mostly are."""

_SURE = 1e-9
"""Its probability is one of a float: it may be 0 or 1."""

_KANA = range(0x3040, 0x3100)
_HAN = range(0x3400, 0xA000)


class Lexicons:
    """Judges texts; a language's library is loaded at its first text, or at once with `warm`."""

    def __init__(self) -> None:
        self._judges: dict[str, Callable[[str], Sentiment]] = {}

    def warm(self, text: str) -> None:
        """Loads what texts like this one need: SnowNLP takes three seconds."""
        self.judge(text, "")

    def judge(self, text: str, language: str) -> Sentiment:
        """`language` in ISO 639-1; empty: English or Chinese by the letters."""
        start = text[:_CHARACTERS]
        match language or _language_of(start):
            case "en":
                return self._judge("en", _vader)(start)
            case "zh":
                return self._judge("zh", _snow)(start)
            case _:
                return Sentiment(UNKNOWN, 0.0)

    def _judge(self, language: str, load: Callable[[], Callable[[str], Sentiment]]) -> Callable[[str], Sentiment]:
        if language not in self._judges:
            self._judges[language] = load()
        return self._judges[language]


def _language_of(text: str) -> str:
    letters = [character for character in text if character.isalpha()]
    if any(ord(letter) in _KANA for letter in letters):
        return "ja"
    if any(ord(letter) in _HAN for letter in letters):
        return "zh"
    return "" if any(is_unspaced(letter) or ord(letter) > 0x24F for letter in letters) else "en"


def tempered(probability: float, words: int) -> float:
    """A naive Bayes probability with its log odds divided by the root of the number of words."""
    held = min(max(probability, _SURE), 1 - _SURE)
    return 1 / (1 + math.exp(-math.log(held / (1 - held)) / math.sqrt(words)))


def _vader() -> Callable[[str], Sentiment]:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()

    def judge(text: str) -> Sentiment:
        compound = float(analyzer.polarity_scores(text)["compound"])
        if abs(compound) < _VADER_NEUTRAL:
            return Sentiment(NEUTRAL, 1 - abs(compound))
        return Sentiment(POSITIVE if compound > 0 else NEGATIVE, abs(compound))

    return judge


def _snow() -> Callable[[str], Sentiment]:
    from snownlp import sentiment

    def judge(text: str) -> Sentiment:
        words = sentiment.classifier.handle(text)
        positive = tempered(float(sentiment.classify(text)), len(words)) if words else 0.5
        if _SNOW[0] <= positive <= _SNOW[1]:
            return Sentiment(NEUTRAL, 1 - abs(2 * positive - 1))
        return Sentiment(POSITIVE if positive > _SNOW[1] else NEGATIVE, max(positive, 1 - positive))

    return judge
