"""The page of contracts says what AsyncAPI's file says, with no request to another machine."""

from html import unescape
from typing import Any

import pytest
from ruamel.yaml import YAML

from stream_worker.contracts.json_schema import CONTRACTS, record_schema
from tests.doc_blocks import ROOT
from tests.unit.console.site import Site


@pytest.fixture(scope="module")
def page() -> str:
    return unescape(Site().ask("/contracts")[2])


def test_every_channel_of_asyncapi_has_its_section(page: str) -> None:
    asyncapi: Any = YAML(typ="safe").load((ROOT / "schemas" / "asyncapi.yaml").read_text(encoding="utf-8"))
    addresses = {channel["address"] for channel in asyncapi["channels"].values()}
    assert addresses
    assert [address for address in addresses if address not in page] == []


@pytest.mark.parametrize("contract", CONTRACTS, ids=[contract.name for contract in CONTRACTS])
def test_every_field_of_a_record_is_told(contract: Any, page: str) -> None:
    schema = record_schema(contract)
    nodes = list(schema.get("$defs", {}).values())
    section = page.partition(f'id="{contract.name}"')[2].partition("</section>")[0]
    top = schema.get("properties") or nodes[0]["properties"]
    assert [name for name in top if f"<code>{name}</code>" not in section] == []
