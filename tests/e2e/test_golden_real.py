"""`stream-worker test --engine real`: the model of the settings answers, and a seed makes it say the same again."""

from pathlib import Path

from stream_worker.golden.conversation import load_goldens
from stream_worker.golden.suite import Suite

_BOT = """
bot: talker
system: Answer in one sentence.
sampling: {max_new_tokens: 12, temperature: 0.9}
"""
_CONVERSATION = """
conversation: small talk
steps:
  - user: Tell me about the sea.
  - expect: {reply: {max_words: 40}}
  - user: And the moon?
  - expect: {replies: 1}
"""


def _replies(folder: Path, repeat: int) -> list[tuple[str, ...]]:
    report = Suite(folder, lambda _: None, real=True).run(load_goldens([folder / "small-talk.yml"]), repeat)
    assert report.passed
    return [tuple(look.seen.text for look in played.looks) for played in report.played]


def test_the_real_model_says_the_same_in_every_run_and_something_else_in_every_repetition(tmp_path: Path) -> None:
    (tmp_path / "bot.yaml").write_text(_BOT)
    (tmp_path / "small-talk.yml").write_text(_CONVERSATION)
    first = _replies(tmp_path, 2)
    assert all(all(texts) for texts in first)
    assert first[0] != first[1], "a repetition that samples the same shows no flake"
    assert _replies(tmp_path, 2) == first
