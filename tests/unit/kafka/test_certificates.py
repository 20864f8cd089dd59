"""Until when the client certificate of the settings is good."""

import time
from pathlib import Path

import pytest

from stream_worker.errors import Misconfigured
from stream_worker.kafka.certificates import client_certificate_expiry
from stream_worker.settings import Settings
from tests.certificates import key_store, self_signed

_DAY_S = 86_400.0


def _settings(**client: str) -> Settings:
    return Settings.model_validate({"kafka": {"client": client}})


def _days_left(settings: Settings) -> float:
    expiry = client_certificate_expiry(settings)
    assert expiry is not None
    return (expiry - time.time()) / _DAY_S


def test_without_a_certificate_there_is_no_end() -> None:
    assert client_certificate_expiry(Settings()) is None


def test_each_form_of_a_certificate_is_read(tmp_path: Path) -> None:
    pem, _ = self_signed(tmp_path, days=10)
    store = key_store(tmp_path, days=20, password="pass")
    assert _days_left(_settings(**{"ssl.certificate.location": str(pem)})) == pytest.approx(10, abs=0.01)
    assert _days_left(_settings(**{"ssl.certificate.pem": pem.read_text()})) == pytest.approx(10, abs=0.01)
    kept = {"ssl.keystore.location": str(store), "ssl.keystore.password": "pass"}
    assert _days_left(_settings(**kept)) == pytest.approx(20, abs=0.01)


@pytest.mark.parametrize("password", ["wrong", ""])
def test_one_that_cannot_be_read_is_an_error_without_the_password(password: str, tmp_path: Path) -> None:
    store = key_store(tmp_path, days=20, password="pass")
    kept = {"ssl.keystore.location": str(store), "ssl.keystore.password": password}
    with pytest.raises(Misconfigured) as raised:
        client_certificate_expiry(_settings(**kept))
    assert "ssl.keystore.location" in str(raised.value)
    assert "wrong" not in str(raised.value)
