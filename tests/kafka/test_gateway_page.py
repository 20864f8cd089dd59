"""The gateway of docs/gateway.md, as it stands there, on a real broker with a real worker."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.eventually import eventually
from tests.kafka.cluster import Cluster
from tests.kafka.conftest import SettingsFor

PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"


@pytest.fixture
def gateway_of(settings_for: SettingsFor) -> Callable[..., Any]:
    """The class that the page shows."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), names)  # the page's own code
    made: Callable[..., Any] = names["Gateway"]
    return made


class Platform:
    """Shows a message once for each idempotency key; may fail before it says so."""

    def __init__(self) -> None:
        self.shown: dict[str, tuple[str, str]] = {}
        self.calls = 0
        self.fails_after: set[int] = set()

    def show(self, *, conversation_id: str, text: str, idempotency_key: str) -> None:
        self.calls += 1
        self.shown.setdefault(idempotency_key, (conversation_id, text))
        if self.calls in self.fails_after:
            raise TimeoutError("the platform did not answer in time")


def test_what_is_received_is_answered_and_shown_once(settings_for: SettingsFor, gateway_of: Callable[..., Any]) -> None:
    settings = settings_for()
    platform = Platform()
    # The second message is shown, but the gateway hears nothing of it and dies.
    platform.fails_after = {2}

    def started() -> Any:
        return gateway_of(
            settings.kafka.bootstrap_servers,
            platform.show,
            events=settings.topics.events,
            replies=settings.output_topic(settings.topics.replies),
            group=f"{settings.application_id}-gateway",
        )

    with Cluster(settings) as cluster:
        cluster.start()
        gateway = started()
        for number in range(3):
            gateway.receive(f"c-{number}", "m-1", "u-1", "hello")
        # The platform's webhook tries again.
        gateway.receive("c-0", "m-1", "u-1", "hello")
        cluster.run_until(lambda: len(cluster.outputs.replies) == 3, "three replies are committed")
        with pytest.raises(TimeoutError):
            eventually(lambda: gateway.deliver(0.1) and False)
        gateway.close()
        again = started()
        eventually(lambda: again.deliver(0.1) is not None and len(platform.shown) == 3)
        cluster.run_for(0.5)
        assert len(cluster.outputs.replies) == 3
        again.close()
    assert platform.calls == 4
    assert sorted(conversation for conversation, _ in platform.shown.values()) == ["c-0", "c-1", "c-2"]
