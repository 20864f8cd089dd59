"""Where the model runs: the processor, or a GPU and its driver. Looks at a GPU only where there is a driver."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stream_worker.doctor.finding import Finding, Group, Says
from stream_worker.settings import Settings

_SAYS = Says(Group.DEVICE)
_VECTORS = ("avx2", "avx512f", "amx_tile")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """`gpus` are the CUDA devices that torch can use; `driver` is whether this machine has NVIDIA's."""

    driver: bool
    gpus: int
    bfloat16: bool
    processor_flags: frozenset[str]
    swap: bool


def gather(settings: Settings) -> DeviceFacts:
    driver = Path("/proc/driver/nvidia/version").exists()
    gpus, bfloat16 = 0, True
    if driver or settings.device.startswith("cuda"):
        # torch takes seconds to import: where nothing of it is needed it stays out.
        from stream_worker.inference.gpus import usable_gpus

        gpus, bfloat16 = usable_gpus()
    return DeviceFacts(driver=driver, gpus=gpus, bfloat16=bfloat16, processor_flags=_flags(), swap=_swap())


def judge(facts: DeviceFacts, settings: Settings) -> Iterator[Finding]:
    wanted = settings.device
    index = int(wanted.partition(":")[2] or 0)
    if wanted.startswith("cuda") and facts.gpus <= index:
        yield _SAYS.error(
            "cuda",
            f"device is {wanted}, torch can use {facts.gpus} CUDA devices",
            "The worker stops at its start." if facts.driver else "This machine has no NVIDIA driver.",
            "set device: cpu, or install a driver that fits torch's CUDA (nvidia-smi shows it)",
        )
    elif wanted == "auto" and facts.driver and not facts.gpus:
        yield _SAYS.warning(
            "cuda",
            "there is an NVIDIA driver, but torch can use no CUDA device",
            "The worker would run on the processor, many times slower.",
            "install a torch whose CUDA the driver supports (nvidia-smi shows the version)",
        )
    elif facts.gpus:
        yield _SAYS.fine("cuda", f"{facts.gpus} CUDA devices")
    if facts.gpus and not facts.bfloat16 and settings.engine.dtype in ("auto", "bfloat16"):
        yield _SAYS.error(
            "bfloat16",
            "the GPU cannot compute in bfloat16",
            "engine.dtype is bfloat16 on a GPU unless it says otherwise.",
            "set engine.dtype: float16",
        )
    if not facts.gpus:
        yield from _processor(facts)
    if facts.swap:
        yield _SAYS.warning(
            "swap",
            "swap is on",
            "A worker that is swapped out misses its heartbeats, and its partitions go to others.",
            "swapoff -a",
        )
    else:
        yield _SAYS.fine("swap", "swap is off")


def _processor(facts: DeviceFacts) -> Iterator[Finding]:
    if "avx2" in facts.processor_flags or not facts.processor_flags:
        has = ", ".join(flag for flag in _VECTORS if flag in facts.processor_flags) or "no list of its features"
        yield _SAYS.fine("processor", f"runs on the processor ({has})")
    else:
        yield _SAYS.warning(
            "processor",
            "the processor has no AVX2",
            "Models run several times slower than on any server of the last ten years.",
            "choose another machine type",
        )


def _flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def _swap() -> bool:
    try:
        return len(Path("/proc/swaps").read_text(encoding="utf-8").splitlines()) > 1
    except OSError:
        return False
