"""The prompt for engines that render their own template: the conversation's end, as much of it as should fit."""

from hypothesis import given
from hypothesis import strategies as st

from stream_worker.conversation.state import ConversationState, Line, Speaker
from stream_worker.stages.prompter import MessagePrompter
from stream_worker.tokens import PromptMessages, Role

_LINES = st.lists(
    st.builds(
        lambda speaker, text, number: Line(speaker, text, f"m-{number}", 0),
        st.sampled_from([Speaker.USER, Speaker.BOT, Speaker.AGENT]),
        st.text("ab 天气", min_size=1, max_size=200),
        st.integers(0, 99),
    ),
    max_size=20,
)
_NEW = (Line(Speaker.USER, "and tomorrow?", "m-new", 0),)


def _bytes(prompt: PromptMessages) -> int:
    return sum(len(message.text.encode()) for message in prompt.messages)


@given(_LINES, st.integers(64, 2_000))
def test_the_end_of_the_conversation_is_kept_within_the_limit(lines: list[Line], limit: int) -> None:
    state = ConversationState(history=tuple(lines))
    prepared = MessagePrompter(limit).prepare("Be kind.", state, _NEW)
    whole = MessagePrompter().prepare("Be kind.", state, _NEW)
    assert isinstance(prepared.prompt, PromptMessages)
    assert isinstance(whole.prompt, PromptMessages)
    assert 0 <= prepared.dropped <= len(lines)
    assert prepared.prompt.messages[0] == whole.prompt.messages[0]
    assert prepared.prompt.messages[-1].text.endswith("and tomorrow?")
    if prepared.dropped:
        kept = ConversationState(history=tuple(lines[prepared.dropped :]))
        assert prepared.prompt == MessagePrompter().prepare("Be kind.", kept, _NEW).prompt
        assert _bytes(prepared.prompt) < 3 * limit
        assert prepared.prompt.messages[1].text, "it begins with what a user wrote"
        assert prepared.prompt.messages[1].role is Role.USER
    else:
        assert prepared.prompt == whole.prompt


def test_after_a_cut_many_turns_pass_until_the_next() -> None:
    prompter, state, cuts = MessagePrompter(600), ConversationState(), 0
    for number in range(60):
        new = (Line(Speaker.USER, "x" * 60, f"m-{number}", 0),)
        dropped = prompter.prepare("", state, new).dropped
        cuts += dropped > 0
        said = (*new, Line(Speaker.BOT, "y" * 60, f"r-{number}", 0))
        state = ConversationState(history=(*state.history[dropped:], *said))
    assert 0 < cuts < 60 / 4


def test_a_new_message_that_is_too_long_by_the_guess_is_the_engines_to_judge() -> None:
    state = ConversationState(history=(Line(Speaker.USER, "old", "m-1", 0),))
    new = (Line(Speaker.USER, "z" * 10_000, "m-2", 0),)
    prepared = MessagePrompter(100).prepare("", state, new)
    assert isinstance(prepared.prompt, PromptMessages)
    assert [len(message.text) for message in prepared.prompt.messages] == [10_000]
