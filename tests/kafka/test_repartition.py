"""State moves to more partitions while the group is stopped: whole, once, and also where the move is cut off."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stream_worker.cli.app import app
from stream_worker.cli.exit_codes import ExitCode, exit_code
from stream_worker.conversation.store import RocksStore
from stream_worker.errors import Code, Misconfigured, StreamWorkerError, UnsafeChange
from stream_worker.kafka import repartition
from stream_worker.kafka.conversation_reading import view_conversation
from stream_worker.kafka.murmur2 import partition_of
from stream_worker.kafka.placement import Batching
from stream_worker.kafka.protocols import Batch, CommitResult
from stream_worker.kafka.repartition import Repartition
from stream_worker.kafka.topic_admin import check, connect, grow
from stream_worker.kafka.topic_lookup import partitions_of
from stream_worker.kafka.transactions import KafkaTransactions
from stream_worker.record import Outgoing
from stream_worker.settings import Settings
from tests import checker
from tests.kafka.cluster import QUICK, Cluster
from tests.kafka.conftest import SettingsFor
from tests.outputs import FORMATS, WITH_THE_WORKERS_STOPPED, assert_as_documented
from tests.settings_file import written

_FEW, _MANY = 2, 5
_CONVERSATIONS = [f"c-{number}" for number in range(12)]
_TO_MOVE = [each for each in _CONVERSATIONS if partition_of(each.encode(), 2) != partition_of(each.encode(), 5)]
_OLD_EVENT = {"conversation_id": "c-0", "message_id": "e-0", "text": "hello", "sender": {"id": "u-1"}}


class Killed(BaseException):
    """As a power cut: no cleaning up is told from it."""


@pytest.fixture(params=["classic"])
def told(settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Settings:
    """An application whose conversations have each had one turn, stopped; states move three in a transaction."""
    monkeypatch.setattr(repartition, "_IN_A_TRANSACTION", Batching(most_records=3, most_bytes=1 << 20))
    settings = settings_for(partitions=_FEW, kafka=QUICK | {"group_protocol": request.param})
    _tell(settings)
    return settings


with_both_protocols = pytest.mark.parametrize("told", ["classic", "consumer"], indirect=True)


def _tell(settings: Settings) -> None:
    with Cluster(settings) as cluster:
        cluster.start()
        for conversation in _CONVERSATIONS:
            cluster.events.say(conversation, "first")
        cluster.run_until_settled()
        cluster.run_until_committed()
        cluster.stop()


def _moved(settings: Settings, target: int = _MANY, tell: Callable[[str], None] = print) -> Any:
    return Repartition(settings, target, tell).run()


def _counts(settings: Settings) -> tuple[int, int]:
    admin = connect(settings)
    events, changelog = (len(partitions_of(admin, topic)) for topic in (settings.topics.events, settings.changelog))
    return events, changelog


def _goes_on(settings: Settings, turns: int = 2, *, said: bool = True) -> None:
    """Every conversation is answered where its key belongs now, with its history, and remembers what it has seen."""
    with Cluster(settings) as cluster:
        cluster.start()
        cluster.events.sent += [f"e-{number}" for number in range(len(_CONVERSATIONS))]
        if said:
            for conversation in _CONVERSATIONS:
                cluster.events.say(conversation, "again")
        cluster.run_until_settled()
        checker.each_event_has_one_outcome(cluster.events.sent, cluster.outputs.metrics)
        cluster.events.write(_OLD_EVENT)
        cluster.run_until(lambda: cluster.outputs.outcomes["e-0"] == "duplicate", "the repeated event is recognised")
        for metric in cluster.outputs.metrics[len(_CONVERSATIONS) :]:
            assert metric["partition"] == partition_of(metric["conversation_id"].encode(), _MANY)
        cluster.stop()
    for conversation in _CONVERSATIONS:
        state = view_conversation(settings, conversation).state
        assert state is not None, f"{conversation} is lost"
        assert state.turns == turns, f"{conversation} began anew"


def _nobody_works(settings: Settings) -> None:
    """A worker that starts now does not start, or has every partition refused."""
    with Cluster(settings) as cluster:
        try:
            worker = cluster.start()
        except Misconfigured as error:
            assert (error.code, f"topics repartition --to {_MANY}" in error.detail) == (Code.TOPIC_MISMATCH, True)  # noqa: PT017
            return
        cluster.run_until(
            lambda: worker.phases == ["refused"] * _counts(settings)[0], "every partition is refused", deadline_s=60
        )
        assert {error.code for error in worker.journal.refusals} == {Code.MOVE_UNFINISHED}
        cluster.stop()


@with_both_protocols
def test_conversations_go_on_in_more_partitions(told: Settings) -> None:
    done = _moved(told)
    assert (done.conversations, done.moved, done.carried) == (len(_CONVERSATIONS), len(_TO_MOVE), 0)
    assert _moved(told).moved == 0, "a second run finds nothing to do"
    assert sum(share.after for share in done.partitions) == len(_CONVERSATIONS)
    assert _counts(told) == (_MANY, _MANY)
    _goes_on(told)
    assert [each.what for each in check(connect(told), told)] == ["It has 5 partitions, topics.partitions is 2"]


# Cut off, and run again


def _dies_before(monkeypatch: pytest.MonkeyPatch, step: str, at: int = 1) -> None:
    honest, calls = getattr(Repartition, step), []

    def dying(self: Repartition, *arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == at:
            raise Killed
        return honest(self, *arguments)

    monkeypatch.setattr(Repartition, step, dying)


def _dies_in_the_transaction(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Its records have left, and it stays open: nobody commits or aborts it."""
    honest, calls = KafkaTransactions.commit, []

    def dying(self: KafkaTransactions, batch: Batch, within_s: float | None = None) -> CommitResult:
        calls.append(batch)
        if len(calls) < at:
            return honest(self, batch, within_s)
        self._producer.begin_transaction()
        self._send(batch, 1e12)
        self._producer.flush(10)
        raise Killed

    monkeypatch.setattr(KafkaTransactions, "commit", dying)


@pytest.mark.parametrize(
    ("step", "at"),
    [("_fence", 1), ("_commit", 4), ("_carry", 1)],
)
def test_a_run_that_was_cut_off_is_gone_on_with(told: Settings, step: str, at: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _dies_before(patch, step, at)
        with pytest.raises(Killed):
            _moved(told)
    _nobody_works(told)
    _moved(told)
    _goes_on(told)


def test_a_transaction_that_was_left_open_is_ended_by_the_next_run(told: Settings) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _dies_in_the_transaction(patch, at=4)
        with pytest.raises(Killed):
            _moved(told)
    _moved(told)
    _goes_on(told)


def test_another_count_is_refused_before_the_first_move_has_ended(told: Settings) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _dies_before(patch, "_move")
        with pytest.raises(Killed):
            _moved(told)
    assert f"run `stream-worker topics repartition --to {_MANY}` first" in _refused(told, Code.MOVE_UNFINISHED, 7)


# Refused, with nothing changed


def _refused(settings: Settings, code: Code, target: int = _MANY) -> str:
    before = _counts(settings)
    with pytest.raises(StreamWorkerError) as caught:
        _moved(settings, target)
    assert caught.value.code is code, caught.value
    assert _counts(settings) == before
    return caught.value.detail


@with_both_protocols
def test_a_group_with_members_is_refused(told: Settings) -> None:
    with Cluster(told) as cluster:
        cluster.start()
        cluster.run_until_term(2, 0, 1)
        detail = _refused(told, Code.GROUP_BUSY)
        assert "has members" in detail
        assert "(/" in detail, "with its host"
        cluster.stop()
    _goes_on_where_it_was(told)


def test_events_that_wait_are_refused(told: Settings) -> None:
    with Cluster(told) as cluster:
        cluster.events.sent += [f"e-{number}" for number in range(len(_CONVERSATIONS))]
        waits = partition_of(b"c-0", _FEW)
        cluster.events.say("c-0")
        assert f"1 events of {told.topics.events} are not settled (1 in partition {waits})" in _refused(
            told, Code.INPUT_UNSETTLED
        )
    _goes_on_where_it_was(told)


def test_fewer_partitions_are_refused(told: Settings) -> None:
    assert "Kafka takes none away" in _refused(told, Code.TOPIC_MISMATCH, 1)


def _goes_on_where_it_was(settings: Settings) -> None:
    with Cluster(settings) as cluster:
        worker = cluster.start()
        cluster.run_until(lambda: worker.phases == ["serving"] * _FEW, "it serves as before")
        cluster.stop()


def test_a_conversation_that_its_key_does_not_put_there_is_refused(told: Settings) -> None:
    """As a producer with another partitioner would have it."""
    stranger = next(each for each in _CONVERSATIONS if partition_of(each.encode(), _FEW) == 0)
    with Cluster(told) as cluster:
        cluster.start()
        event = (
            b'{"conversation_id": "%s", "message_id": "odd", "text": "hi", "sender": {"id": "u"}}' % stranger.encode()
        )
        cluster.events._producer.produce(told.topics.events, event, stranger, 1)
        cluster.run_until(lambda: "odd" in cluster.outputs.outcomes, "it is answered")
        cluster.stop()
    assert f"{stranger} in partition 1" in _refused(told, Code.STATE_MISPLACED)


# What came in meanwhile


def test_events_that_arrive_meanwhile_are_carried_to_their_conversation(told: Settings) -> None:
    with Cluster(told) as late:
        late.events.sent += [f"e-{number}" for number in range(len(_CONVERSATIONS))]

        def tell(text: str) -> None:
            if text.startswith("verified"):
                for conversation in _CONVERSATIONS:
                    late.events.say(conversation, "late")

        done = _moved(told, tell=tell)
    assert done.carried == len(_TO_MOVE)
    with Cluster(told) as cluster:
        cluster.start()
        cluster.events.sent += late.events.sent
        cluster.run_until_settled()
        cluster.stop()
        checker.each_event_has_one_outcome(late.events.sent, cluster.outputs.metrics)
    for conversation in _CONVERSATIONS:
        state = view_conversation(told, conversation).state
        assert state is not None
        assert state.turns == 2, f"{conversation} was answered without its history"


def test_an_input_that_was_grown_by_hand_is_mended(told: Settings) -> None:
    grow(connect(told), told.topics.events, _MANY)
    assert f"topics repartition --to {_MANY}" in check(connect(told), told)[-1].cure
    assert _moved(told).moved == len(_TO_MOVE)


# Planted bugs: the verification finds each


def _only_written(self: Repartition, partition: int, key: bytes, value: bytes) -> Iterable[Outgoing]:
    return _honest_moving(self, partition, key, value)[:1]


def _only_deleted(self: Repartition, partition: int, key: bytes, value: bytes) -> Iterable[Outgoing]:
    return _honest_moving(self, partition, key, value)[1:]


def _altered(self: Repartition, partition: int, key: bytes, value: bytes) -> Iterable[Outgoing]:
    return _honest_moving(self, partition, key, value.replace(b"first", b"other"))


def _left_behind(self: Repartition, partition: int, key: bytes, value: bytes) -> Iterable[Outgoing]:
    return ()


_honest_moving = Repartition._moving


@pytest.mark.parametrize(
    ("bug", "found"),
    [
        (_only_written, f"now there are {len(_CONVERSATIONS) + len(_TO_MOVE)}"),
        (_only_deleted, f"now there are {len(_CONVERSATIONS) - len(_TO_MOVE)}"),
        (_altered, "not with the same contents"),
        (_left_behind, "not every state was moved"),
    ],
)
def test_a_state_that_is_not_moved_whole_is_found(told: Settings, bug: Callable[..., Any], found: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Repartition, "_moving", bug)
        with pytest.raises(UnsafeChange, match=found):
            _moved(told)
    assert _counts(told) == (_FEW, _MANY)
    if bug is not _left_behind:
        # What there was at first is remembered: a second run does not take what is left for the whole.
        with pytest.raises(UnsafeChange, match=r"there were|same contents|murmur2"):
            _moved(told)


# The local copy


def test_a_local_copy_of_before_is_brought_up_to_date(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(partitions=_FEW, kafka=QUICK)
    _tell_with(settings, tmp_path)
    _moved(settings)
    store = RocksStore(tmp_path / "state")
    assert store.copy(0) is not None, "the copy of before is there"
    with Cluster(settings) as cluster:
        worker = cluster.start(store=store)
        cluster.run_until(lambda: worker.phases == ["serving"] * _MANY, "it serves")
        for partition in range(_MANY):
            here = [each for each in _CONVERSATIONS if partition_of(each.encode(), _MANY) == partition]
            assert sorted(store.keys(partition)) == sorted(each.encode() for each in here)
        cluster.stop()
    store.close()


def _tell_with(settings: Settings, folder: Path) -> None:
    store = RocksStore(folder / "state")
    with Cluster(settings) as cluster:
        cluster.start(store=store)
        for conversation in _CONVERSATIONS:
            cluster.events.say(conversation, "first")
        cluster.run_until_settled()
        cluster.run_until_committed()
        cluster.stop()
    store.close()


# The command


def test_the_command_looks_first_and_says_what_it_did(
    told: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"topics repartition"} == WITH_THE_WORKERS_STOPPED
    written(told, tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments = ["topics", "repartition", "--to", str(_MANY)]
    looked = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert looked.exit_code == ExitCode.FINE
    for output in FORMATS:
        printed = CliRunner().invoke(app, [*arguments, "--dry-run", "-o", output]).stdout
        assert_as_documented("topics repartition", printed, output)
    assert f"{len(_TO_MOVE)} of {len(_CONVERSATIONS)} conversations would be moved" in looked.stderr
    assert CliRunner().invoke(app, arguments).exit_code == ExitCode.UNSAFE, "nobody can be asked"
    assert _counts(told) == (_FEW, _FEW)
    done = CliRunner().invoke(app, [*arguments, "--yes"])
    assert done.exit_code == ExitCode.FINE
    assert "set topics.partitions to 5" in done.stderr
    assert _counts(told) == (_MANY, _MANY)


def test_what_is_unsafe_ends_with_its_own_code() -> None:
    assert exit_code(UnsafeChange(Code.GROUP_BUSY, "")) is ExitCode.UNSAFE
