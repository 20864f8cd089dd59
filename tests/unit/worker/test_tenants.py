"""Conversations of one name and two tenants are two conversations: key, state, memory of ids, cache, bot."""

from typing import Any

from stream_worker.contracts.dead_letter import REASON
from stream_worker.contracts.internal import STATE_PREFIX
from stream_worker.conversation.state import load_state
from stream_worker.inference.stepper import Stepper
from stream_worker.orders import Forget, Generate, Keeping
from stream_worker.tokens import PromptMessages
from tests.unit.worker.rig import Rig, settings
from tests.unit.worker.test_faults import Failing

_TENANTS = ("acme", "globex")


class _Asked(Failing):
    def __init__(self, inner: Stepper) -> None:
        super().__init__(inner)
        self.orders: list[Generate | Keeping] = []

    def add(self, order: Generate) -> None:
        self.orders.append(order)
        super().add(order)

    def forget(self, order: Keeping) -> None:
        self.orders.append(order)


def _rig() -> tuple[Rig, list[_Asked]]:
    engines: list[_Asked] = []

    def wrap(inner: Stepper) -> Stepper:
        engines.append(_Asked(inner))
        return engines[-1]

    rig = Rig(settings(admission={"tenants": True}), wrap=wrap)
    rig.start()
    return rig, engines


def _send(rig: Rig, tenant: str, **fields: Any) -> None:
    rig.send("c-1", key=f"{tenant}/c-1".encode(), tenant=tenant, **fields)


def test_what_one_tenant_says_is_nowhere_in_what_another_ones_turn_is_made_of() -> None:
    rig, (engine,) = _rig()
    for tenant in _TENANTS:
        _send(rig, tenant, message_id="m-1", text=f"the secret of {tenant}")
        rig.run(2.0)
    for tenant in _TENANTS:
        _send(rig, tenant, message_id="m-2", text="what was it?")
        rig.run(2.0)
    orders = [order for order in engine.orders if isinstance(order, Generate)]
    assert len(orders) == 4, "the same id of another tenant is no duplicate"
    for order in orders:
        own, other = _TENANTS if order.conversation == "acme/c-1" else _TENANTS[::-1]
        assert isinstance(order.prompt, PromptMessages)
        said = " ".join(message.text for message in order.prompt.messages)
        assert f"secret of {own}" in said
        assert f"secret of {other}" not in said
        assert order.cache_scope.startswith(f"{own}/")
    assert len({order.cache_scope for order in orders}) == 2
    assert sorted(record.key or b"" for record in rig.broker.read_committed(rig.settings.topics.replies)) == [
        f"{tenant}/c-1".encode() for tenant in _TENANTS for _ in range(2)
    ]


def test_an_erasure_of_one_tenant_leaves_the_other_ones_conversation() -> None:
    rig, (engine,) = _rig()
    for tenant in _TENANTS:
        _send(rig, tenant, message_id="m-1", text="hello")
    rig.run(2.0)
    _send(rig, "acme", type="erasure", message_id="e-1")
    rig.run(2.0)
    assert [order for order in engine.orders if isinstance(order, Forget)] == [Forget(conversation="acme/c-1")]
    states = {
        (record.key or b"").removeprefix(STATE_PREFIX).decode(): load_state(record.value)
        for record in rig.broker.read_committed(rig.settings.changelog)
        if (record.key or b"").startswith(STATE_PREFIX) and record.value
    }
    assert {name: bool(state.history) for name, state in states.items()} == {"acme/c-1": False, "globex/c-1": True}


def test_an_event_without_its_tenant_or_with_anothers_key_is_nobodys() -> None:
    rig, _ = _rig()
    rig.send("c-1", message_id="m-1", text="hello")
    rig.send("c-1", key=b"globex/c-1", tenant="acme", message_id="m-2", text="hello")
    rig.send("c-1", key=b"a/b/c-1", tenant="a/b", message_id="m-3", text="hello")
    rig.run(2.0)
    assert rig.replies == []
    reasons = [
        dict(each.headers)[REASON] or b"" for each in rig.broker.read_committed(rig.settings.topics.dead_letters)
    ]
    assert sorted(reasons) == [b"invalid_event", b"no_tenant", b"wrong_key"]
