"""In which numbers a model runs here; told without loading torch."""

from typing import Literal

from stream_worker.inference.native.build import fastest_words

Dtype = Literal["float32", "bfloat16", "float16"]
DtypeName = Literal["auto"] | Dtype


def chosen_dtype(name: DtypeName, *, on_gpu: bool) -> Dtype:
    """`auto` is bfloat16 on a GPU and on a CPU that multiplies it natively, else float32."""
    if name != "auto":
        return name
    return "bfloat16" if on_gpu or fastest_words(half=True) is not None else "float32"


def bytes_per_number(dtype: Dtype) -> int:
    return 4 if dtype == "float32" else 2
