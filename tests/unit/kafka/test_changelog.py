"""What the client says while a changelog is read becomes an error of ours. The client is real; no broker is asked."""

from collections.abc import Iterator

import pytest

from stream_worker.errors import ClientsBroken, Code
from stream_worker.kafka.changelog import KafkaChangelog
from stream_worker.kafka.client_settings import restore_settings
from stream_worker.settings import Settings


@pytest.fixture
def changelog() -> Iterator[KafkaChangelog]:
    changelog = KafkaChangelog(restore_settings(Settings()) | {"log_level": 0}, "shop-changelog")
    yield changelog
    changelog.close_all()


def test_a_partition_that_cannot_be_opened_costs_the_clients_not_the_process(changelog: KafkaChangelog) -> None:
    changelog.open(0, 5)
    with pytest.raises(ClientsBroken, match="the changelog's consumer failed") as broken:
        changelog.open(0, 5)
    assert broken.value.code is Code.CLIENTS_BROKEN


def test_a_consumer_that_is_gone_is_replaced_and_can_still_be_let_go(changelog: KafkaChangelog) -> None:
    changelog.open(0, 5)
    changelog.close_all()
    for call in (lambda: changelog.open(1, 5), lambda: changelog.read(1), lambda: changelog.reached_end(0)):
        with pytest.raises(ClientsBroken):
            call()
    changelog.close(0)
    changelog.close_all()
