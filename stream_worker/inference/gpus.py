"""The GPUs that torch can use."""

import torch

from stream_worker.inference.memory import DeviceMemory


def usable_gpus() -> tuple[int, bool]:
    """How many there are, and whether they compute in bfloat16."""
    if not torch.cuda.is_available():
        return 0, True
    return torch.cuda.device_count(), torch.cuda.is_bf16_supported()


def free_gpu_bytes(index: int) -> int:
    """Memory of a GPU that nobody uses."""
    return int(torch.cuda.mem_get_info(index)[0])


def gpu_memory(device: torch.device) -> DeviceMemory:
    """Of a GPU, by all who use it."""
    free, total = torch.cuda.mem_get_info(device)
    return DeviceMemory(total - free, total)
