"""The exact prompt of a turn is the one that its hash proves; what was cached is shaded, and it may be run again."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stream_worker.console.prompt import Again, exact_prompt, shaded
from stream_worker.console.rehearsal import Found
from stream_worker.contracts import examples
from stream_worker.contracts.analysis import Analysis
from stream_worker.conversation.state import EMPTY, ConversationState, Line, Speaker
from stream_worker.errors import Code, Missing
from stream_worker.outcome import FinishReason
from stream_worker.stages.prompter import MessagePrompter, prompt_hash
from stream_worker.tokens import ChatMessage, PromptIds, PromptMessages, Role, StoredPrompt
from tests.unit.console import records
from tests.unit.console.site import TOKEN, Site

IDS = st.lists(st.integers(0, 50_000), min_size=1, max_size=40).map(tuple)
TURN = f"/turn?id=c&turn={records.turn_of('c', 'e-1')}"


def analysis_of(hash_: str, tokens: int, reply_id: str = "r") -> Analysis:
    generation = examples.ANALYSES[0].generation
    assert generation is not None
    return replace(
        examples.ANALYSES[0],
        reply_id=reply_id,
        generation=replace(generation, prompt_hash=hash_, prompt_tokens=tokens, cached_tokens=0),
    )


def state_with(ids: tuple[int, ...]) -> ConversationState:
    return ConversationState(prompt=StoredPrompt(hash="format", ids=ids, covers=1))


@given(st.lists(IDS, min_size=1, max_size=5), st.data())
def test_the_prompt_of_every_turn_since_the_last_cut_is_found(
    turns: list[tuple[int, ...]], data: st.DataObject
) -> None:
    """Each turn's ids are put after those of the turn before, as the workers do."""
    number = data.draw(st.integers(0, len(turns) - 1))
    prompts = [tuple(token for turn in turns[: end + 1] for token in turn) for end in range(len(turns))]
    wanted = PromptIds(ids=prompts[number])
    analysis = analysis_of(prompt_hash(wanted), len(wanted.ids))
    assert exact_prompt(state_with(prompts[-1]), analysis, "") == wanted


@given(IDS, IDS)
def test_what_does_not_have_the_hash_is_not_shown(ids: tuple[int, ...], other: tuple[int, ...]) -> None:
    analysis = analysis_of(prompt_hash(PromptIds(ids=ids)), len(ids))
    found = exact_prompt(state_with(other), analysis, "")
    assert found is None or found == PromptIds(ids=ids)


def test_messages_are_those_that_were_said_before_the_reply() -> None:
    asked = Line(Speaker.USER, "Is it open?", "e-1", 1)
    before = ConversationState(history=(Line(Speaker.USER, "Hello", "e-0", 0), Line(Speaker.BOT, "Hi", "r-0", 0)))
    prepared = MessagePrompter().prepare("Be brief.", before, [asked])
    later = (
        Line(Speaker.BOT, "Yes.", "r", 2),
        Line(Speaker.USER, "Thanks", "e-2", 3),
        Line(Speaker.BOT, "Bye", "r-2", 4),
    )
    state = ConversationState(history=(*before.history, asked, *later))
    assert exact_prompt(state, analysis_of(prepared.hash, 9), "Be brief.") == prepared.prompt
    # Another system text, or a line that was edited meanwhile: another prompt.
    assert exact_prompt(state, analysis_of(prepared.hash, 9), "Be polite.") is None
    edited = (replace_text(before.history[0], "Hi!"), *state.history[1:])
    assert exact_prompt(ConversationState(history=edited), analysis_of(prepared.hash, 9), "Be brief.") is None
    assert exact_prompt(EMPTY, analysis_of(prepared.hash, 9), "Be brief.") is None


def replace_text(line: Line, text: str) -> Line:
    return Line(line.speaker, text, line.event_id, line.at)


@given(st.text(min_size=1, max_size=30), st.data())
def test_what_was_cached_and_what_was_computed_are_the_whole(text: str, data: st.DataObject) -> None:
    """Ids are bytes here: a border may be within a character."""
    ids = tuple(text.encode("utf-8", "replace"))
    cached = data.draw(st.integers(0, len(ids)))

    def spell(some: Any) -> str:
        return bytes(some).decode("utf-8", "replace")

    found = shaded(ids, cached, spell)
    assert found.cached + found.computed == spell(ids)
    assert len(found.cached.encode()) <= cached
    assert cached - len(found.cached.encode()) < 4


def again_of(ids: tuple[int, ...], before: tuple[int, ...] = (1589, 314, 15892, 2)) -> Again:
    return Again(
        text="It is sunny.",
        ids=ids,
        before=before,
        finish_reason=FinishReason.STOP,
        seconds=0.5,
        model="smollm2-135m-instruct",
        has_same_bot=True,
    )


def test_it_is_known_where_a_turn_that_was_run_again_went_another_way() -> None:
    assert again_of((1589, 314, 15892, 2)).is_same
    other = again_of((1589, 314, 7))
    assert (other.is_same, other.same) == (False, 2)
    assert again_of((1589, 314)).same == 2


def turn_site(**arguments: Any) -> Site:
    site = Site(**arguments)
    site.board.take(*records.event("c", "e-1", 0, "And <now>?"))
    site.board.take(*records.reply("c", "e-1", "It is sunny."))
    site.board.take(*records.analysis("c", "e-1"))
    return site


def test_the_page_shades_what_was_cached_and_escapes_what_was_said() -> None:
    site = turn_site()
    state = state_with((1, 2, 3))
    assert state.prompt is not None
    site.stage.found = Found(PromptIds(ids=state.prompt.ids), shaded((60, 98, 62), 1, lambda ids: bytes(ids).decode()))
    status, _, body = site.ask(TURN)
    assert status == 200
    assert "&lt;</mark>b&gt;</pre>" in body
    assert 'class="cached"' in body
    assert "/turn?id=c" in site.ask("/conversation?id=c")[2]


def test_a_prompt_that_is_not_kept_or_cannot_be_spelt_says_so() -> None:
    site = turn_site()
    assert "holds it no more" in site.ask(TURN)[2]
    site.stage.found = Found(PromptIds(ids=(7, 8)), why_not="SW-M001 the model is not here")
    assert "cannot be spelt here. SW-M001" in site.ask(TURN)[2]
    site.stage.found = Found(PromptMessages(messages=(ChatMessage(Role.USER, "And <now>?"),)))
    assert '<dt>user</dt><dd dir="auto">And &lt;now&gt;?</dd>' in site.ask(TURN)[2]
    site.stage.trouble = Missing(Code.BROKER_UNREACHABLE, "no broker answers")
    assert "no broker answers" in site.ask(TURN)[2]
    assert site.ask("/turn?id=c&turn=none")[0] == 404


def test_a_turn_is_run_again_only_by_its_form_and_says_whether_it_came_to_the_same() -> None:
    site = turn_site()
    site.stage.found = Found(PromptIds(ids=(7, 8)))
    form = {"id": "c", "turn": records.turn_of("c", "e-1")}
    assert site.ask("/turn", form=form)[0] == 403
    site.stage.again_ = again_of((1589, 314, 15892, 2))
    assert "the same 4 tokens" in site.ask("/turn", form={**form, "csrf": site.access.csrf})[2]
    site.stage.again_ = again_of((1589, 5))
    assert "the same up to token 1 of 4" in site.ask("/turn", form={**form, "csrf": site.access.csrf})[2]
    site.stage.may_run = False
    assert site.ask("/turn", form={**form, "csrf": site.access.csrf})[0] == 403
    assert site.stage.ran == 2
    assert (site.sender.sent, site.desk.sent) == ([], [])


def test_who_sees_data_masked_sees_no_prompt() -> None:
    site = turn_site(token="f" * 16, masked=TOKEN)
    site.stage.found = Found(PromptIds(ids=(7, 8)))
    assert site.ask(TURN, authorization=f"Bearer {TOKEN}")[0] == 403
    assert "/turn?" not in site.ask("/conversation?id=c", authorization=f"Bearer {TOKEN}")[2]
