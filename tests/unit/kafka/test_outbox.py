"""The outbox: an abort changes nothing, a refused record takes out one settlement and what builds on it."""

from hypothesis import given
from hypothesis import strategies as st

from stream_worker.conversation.state import ConversationState
from stream_worker.kafka.outbox import Outbox, Settlement
from stream_worker.outcome import Outcome
from stream_worker.report import Report
from tests.unit.arrivals import message


def _settlement(offset: int, conversation: str = "c-1", partition: int = 0) -> Settlement:
    arrival = message(offset, conversation=conversation)
    return Settlement(
        partition=partition,
        term=1,
        records=(arrival.record,),
        outgoing=(),
        report=Report(outcomes=(Outcome.SILENT,)),
        arrivals=(arrival,),
        conversation=conversation,
        state=ConversationState(turns=offset),
    )


def _filled(*settlements: Settlement) -> Outbox:
    outbox = Outbox()
    for settlement in settlements:
        outbox.add(settlement)
    return outbox


def test_a_selection_holds_the_last_state_of_each_conversation() -> None:
    outbox = _filled(_settlement(1), _settlement(2, "c-2"), _settlement(3))
    states = outbox.select().states()[0]
    assert {name: state.turns for name, state in states.items()} == {"c-1": 3, "c-2": 2}


def test_what_is_added_after_a_selection_stays_when_that_is_committed() -> None:
    outbox = _filled(_settlement(1))
    selection = outbox.select()
    outbox.add(_settlement(2))
    outbox.committed(selection)
    assert [each.records[0].offset for each in outbox.select().settlements] == [2]


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=2, max_size=12), st.data())
def test_isolation_finds_the_guilty_one_and_takes_out_only_its_conversation(
    conversations: list[str], data: st.DataObject
) -> None:
    settlements = [_settlement(offset, name) for offset, name in enumerate(conversations)]
    guilty = data.draw(st.integers(0, len(settlements) - 1))
    outbox = _filled(*settlements)
    outbox.isolate(outbox.select())
    sent: list[int] = []
    taken_back: list[int] = []
    while len(outbox):
        selection = outbox.select()
        offset = selection.settlements[0].records[0].offset
        if outbox.isolating and offset == guilty and selection.settlements[0].arrivals:
            assert len(selection.settlements) == 1
            stand_in = Settlement(
                partition=0,
                term=1,
                records=selection.settlements[0].records,
                outgoing=(),
                report=Report(outcomes=(Outcome.DEAD_LETTERED,)),
            )
            taken_back = [each.records[0].offset for each in outbox.replace_first(stand_in)]
        else:
            assert guilty not in [each.records[0].offset for each in selection.settlements if each.arrivals]
            sent += [each.records[0].offset for each in selection.settlements]
            outbox.committed(selection)
    assert taken_back == [
        offset for offset, name in enumerate(conversations) if offset > guilty and name == conversations[guilty]
    ]
    assert sent == [offset for offset in range(len(conversations)) if offset not in taken_back]


def test_a_partition_that_is_gone_takes_its_settlements_with_it() -> None:
    outbox = _filled(_settlement(1, partition=0), _settlement(2, partition=1), _settlement(3, partition=0))
    outbox.isolate(outbox.select())
    outbox.drop([0])
    assert outbox.isolating
    outbox.committed(outbox.select())
    assert not outbox.isolating
    assert len(outbox) == 0


def test_a_settlement_of_another_term_is_noticed() -> None:
    outbox = _filled(_settlement(1))
    assert outbox.of_terms({0: 1})
    assert not outbox.of_terms({0: 2})
    assert not outbox.of_terms({})
