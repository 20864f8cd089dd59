"""Builds the native step with the machine's C++ compiler on first use, and keeps it in the cache.

What always holds: a library is used only on the kind of CPU, and made of the
source and by the compiler, that its name stands for; several processes may
build at the same time, and each ends up with a whole file.
"""

import ctypes
import platform
import shutil
import subprocess
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from hashlib import blake2b
from pathlib import Path

import structlog

from stream_worker.cache import appearing_whole, cache_folder
from stream_worker.outcome import FallbackReason

_FOLDER = Path(__file__).parent
_SOURCES = ("kernels.h", "step.cpp")
_COMPILERS = ("g++", "clang++", "c++")
_BUILD_S = 300

#: What /proc/cpuinfo must name for each kind of word.
_AVX512 = frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "fma"})
_BF16 = _AVX512 | {"avx512_bf16"}
_AMX = _BF16 | {"amx_tile", "amx_bf16"}

_ARCH_PRCTL = 158
_REQUEST_PERMISSION = 0x1023
_TILE_DATA = 18


class Words(IntEnum):
    """How a product reads its operands; the numbers are those of kernels.h."""

    FP32 = 0
    BF16 = 1
    AMX = 2


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why there is no native step here; `detail` is for a log line."""

    reason: FallbackReason
    detail: str


@cache
def cpu_features() -> frozenset[str]:
    """The flags of the first core, by the names of /proc/cpuinfo; none on other systems than Linux on x86-64."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return frozenset()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())


@cache
def fastest_words(*, half: bool) -> Words | None:
    """The fastest kind this CPU has for bf16 (`half`) or fp32 weights; None where there is none."""
    features = cpu_features()
    if not half:
        return Words.FP32 if features >= _AVX512 else None
    if features >= _AMX and _may_use_tiles():
        return Words.AMX
    return Words.BF16 if features >= _BF16 else None


@cache
def library() -> ctypes.CDLL | Unavailable:
    """The library, built if it has to be. The same answer for the whole life of the process."""
    if not cpu_features() >= _AVX512:
        return Unavailable(FallbackReason.CPU, "the CPU has no AVX-512")
    compiler = next((found for name in _COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        return Unavailable(FallbackReason.NO_COMPILER, f"none of {', '.join(_COMPILERS)} is installed")
    flags = _flags(cpu_features())
    path = cache_folder("native") / f"step-{_fingerprint(compiler, flags)}.so"
    try:
        if not path.is_file():
            _compile(compiler, flags, path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        output = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        return Unavailable(FallbackReason.BUILD_FAILED, f"{compiler} could not build it: {str(output).strip()[:500]}")


def _flags(features: frozenset[str]) -> list[str]:
    flags = ["-std=c++17", "-O3", "-shared", "-fPIC", "-pthread", "-march=x86-64-v4"]
    flags += ["-mavx512bf16"] if features >= _BF16 else []
    return flags + (["-mamx-tile", "-mamx-bf16"] if features >= _AMX else [])


def _fingerprint(compiler: str, flags: list[str]) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    digest = blake2b(digest_size=10)
    for part in (*((_FOLDER / name).read_text(encoding="utf-8") for name in _SOURCES), version, " ".join(flags)):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


def _compile(compiler: str, flags: list[str], path: Path) -> None:
    structlog.get_logger().info("building the native step, once", compiler=compiler)
    with appearing_whole(path) as unfinished:
        subprocess.run(
            [compiler, *flags, str(_FOLDER / "step.cpp"), "-o", str(unfinished)],
            capture_output=True,
            text=True,
            check=True,
            timeout=_BUILD_S,
        )


@cache
def _may_use_tiles() -> bool:
    """Linux saves a thread's tile registers only for a process that asked for it."""
    refused: int = ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA)
    return refused == 0
