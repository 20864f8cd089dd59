"""A batch that was damaged where the broker keeps it: nothing of it is skipped or misread, and the log says so."""

from contextlib import closing
from pathlib import Path

from stream_worker.embedded.broker import EmbeddedBroker
from stream_worker.kafka.topic_admin import connect, create
from stream_worker.kafka.topics import topic_table
from tests.eventually import eventually
from tests.kafka.conftest import unique_settings
from tests.kafka.event_writer import EventWriter
from tests.kafka.processes import WorkerProcess
from tests.kafka.topic_reader import TopicReader

_TEXT, _CHANGED = b"where is my order", b"where is an order"
_LONG_S = 60.0


def _change(log: Path, old: bytes, new: bytes) -> None:
    """In place, as the broker has the file open."""
    at = log.read_bytes().index(old)
    with log.open("r+b") as file:
        file.seek(at)
        file.write(new)


def test_a_damaged_batch_is_named_and_read_once_it_is_whole_again(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "broker") as broker:
        settings = unique_settings(broker.bootstrap_servers, 1)
        create(connect(settings), topic_table(settings))
        writer = EventWriter(settings)
        sent = [writer.say("c-1", text) for text in ("good morning", _TEXT.decode(), "thank you")]
        (log,) = (tmp_path / "broker").rglob(f"{settings.topics.events}-0/*.log")
        _change(log, _TEXT, _CHANGED)
        with WorkerProcess(settings, tmp_path / "worker", "w-0") as process:
            said = f"the records of {settings.topics.events} from offset 1 on cannot be read"
            eventually(lambda: said in process.log, _LONG_S)
            _change(log, _CHANGED, _TEXT)
            with closing(TopicReader(settings)) as outputs:
                eventually(lambda: len(outputs.replies) == len(sent), _LONG_S)
                assert [reply["in_reply_to"] for reply in outputs.replies] == [[event] for event in sent]
                assert [metric["outcome"] for metric in outputs.metrics] == ["replied"] * len(sent)
        assert process.log.count(said) == 1, "once a minute"
