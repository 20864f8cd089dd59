"""The memory that models are run in: this process's, or a GPU's. Without torch."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stream_worker.clock import Clock

_LOOKED_AT_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes: `used` by whoever uses it, of `total`."""

    used: int
    total: int


class MemoryGauge:
    """Looks once a second at most, whenever it is asked: for the device thread, which asks at each step."""

    def __init__(self, look: Callable[[], DeviceMemory], clock: Clock) -> None:
        self._look = look
        self._clock = clock
        self._seen, self._at = look(), clock.monotonic()

    def read(self) -> DeviceMemory:
        now = self._clock.monotonic()
        if now - self._at >= _LOOKED_AT_EVERY_S:
            self._seen, self._at = self._look(), now
        return self._seen


def process_memory() -> DeviceMemory:
    """What this process has in memory, of what it may have. Where there is no Linux nobody says the former: 0."""
    _, resident_pages, *_ = (*kernel_says("/proc/self/statm").split(), "0", "0")
    return DeviceMemory(int(resident_pages) * os.sysconf("SC_PAGE_SIZE"), usable_bytes())


def usable_bytes() -> int:
    """What this process may use: the machine's memory, and its control group's limit."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = kernel_says("/sys/fs/cgroup/memory.max").strip()
    return min(machine, int(limit)) if limit.isdigit() else machine


def kernel_says(file: str) -> str:
    """What stands in a file of the kernel; empty where there is none."""
    try:
        return Path(file).read_text(encoding="ascii")
    except OSError:
        return ""
