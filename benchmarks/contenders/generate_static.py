"""What one writes first: `generate` of transformers over a static micro-batch, padded on the left; bfloat16."""

import time

import torch
from generating import Request, serve
from transformers import AutoModelForCausalLM
from transformers.generation.streamers import BaseStreamer


class _First(BaseStreamer):
    """The time of the batch's first tokens: its second call, the first one being the prompt."""

    def __init__(self) -> None:
        self.calls = 0
        self.at = 0.0

    def put(self, value: torch.Tensor) -> None:
        self.calls += 1
        if self.calls == 2:
            self.at = time.monotonic()

    def end(self) -> None: ...


class Static:
    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model

    def run(self, requests: list[Request], concurrency: int) -> list[float]:
        first: list[float] = []
        for start in range(0, len(requests), concurrency):
            begun = time.monotonic()
            batch = requests[start : start + concurrency]
            longest = max(len(ids) for ids, _ in batch)
            ids = torch.tensor([[0] * (longest - len(ids)) + ids for ids, _ in batch])
            mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids, _ in batch])
            new = max(new for _, new in batch)
            streamer = _First()
            with torch.no_grad():
                self._model.generate(  # type: ignore[operator]
                    ids, attention_mask=mask, do_sample=False, max_new_tokens=new, min_new_tokens=new, pad_token_id=0,
                    streamer=streamer if len(batch) == 1 else None,
                )  # fmt: skip
            ended = time.monotonic()
            # A batch's streamer takes one row only: of several, the prompts' share of the work is taken for it.
            prefill = longest / (longest + new)
            first += [(streamer.at or begun + (ended - begun) * prefill) - begun] * len(batch)
        return first


def load(folder: str) -> Static:
    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    return Static(model)


if __name__ == "__main__":
    serve(load)
