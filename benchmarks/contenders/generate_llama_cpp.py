"""llama.cpp through llama-cpp-python: the GGUF of the same model as the wheel has it (Q4_1), sequences in one batch.

The high-level class answers one prompt at a time, so this is its low-level interface, as its own server uses it: each
step decodes one token of every running sequence and the prompts of those that join. In an environment of its own.
"""

import ctypes
import os
import sys
import time

import llama_cpp as llama
import numpy as np
from generating import Request, serve

_SEQUENCES = 64
_CONTEXT = 320
_BATCH = 2_048


class LlamaCpp:
    def __init__(self, file: str) -> None:
        llama.llama_backend_init()
        silence = llama.llama_log_callback(lambda *_: None)
        llama.llama_log_set(silence, ctypes.c_void_p())
        self._silence = silence
        self._model = llama.llama_model_load_from_file(file.encode(), llama.llama_model_default_params())
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = _SEQUENCES * _CONTEXT
        parameters.n_seq_max = _SEQUENCES
        parameters.n_batch = parameters.n_ubatch = _BATCH
        parameters.n_threads = parameters.n_threads_batch = len(os.sched_getaffinity(0))
        self._context = llama.llama_init_from_model(self._model, parameters)
        self._memory = llama.llama_get_memory(self._context)
        self._width = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self._model))
        self._batch = llama.llama_batch_init(_BATCH, 0, 1)

    def run(self, requests: list[Request], concurrency: int) -> list[float]:
        waiting = list(reversed(requests))
        free = list(range(concurrency))
        running: dict[int, _Running] = {}
        first: list[float] = []
        while waiting or running:
            while waiting and free:
                ids, new = waiting.pop()
                running[free.pop()] = _Running(ids, new, time.monotonic())
            rows = self._decode(running)
            now = time.monotonic()
            for sequence, row in rows.items():
                one = running[sequence]
                if one.done == len(one.ids) and one.left == one.new:
                    first.append(now - one.submitted)
                one.next = self._argmax(row)
                one.left -= 1
                if one.left == 0:
                    llama.llama_memory_seq_rm(self._memory, sequence, -1, -1)
                    del running[sequence]
                    free.append(sequence)
        return first

    def _decode(self, running: "dict[int, _Running]") -> dict[int, int]:
        """One step; the row of the batch whose logits are each sequence's."""
        size, rows = 0, {}
        for sequence, one in running.items():
            if one.done >= len(one.ids):
                tokens, start = [one.next], one.done
            else:
                tokens, start = one.ids[one.done : one.done + _BATCH - size - len(running)], one.done
            for offset, token in enumerate(tokens):
                self._put(size, token, start + offset, sequence, want=False)
                size += 1
            one.done = start + len(tokens)
            if tokens and one.done >= len(one.ids):
                self._batch.logits[size - 1] = 1
                rows[sequence] = size - 1
        self._batch.n_tokens = size
        if llama.llama_decode(self._context, self._batch):
            raise RuntimeError("llama_decode failed")
        return rows

    def _put(self, at: int, token: int, position: int, sequence: int, *, want: bool) -> None:
        batch = self._batch
        batch.token[at], batch.pos[at], batch.logits[at] = token, position, int(want)
        batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence

    def _argmax(self, row: int) -> int:
        pointer = llama.llama_get_logits_ith(self._context, row)
        return int(np.ctypeslib.as_array(pointer, shape=(self._width,)).argmax())


class _Running:
    def __init__(self, ids: list[int], new: int, submitted: float) -> None:
        self.ids, self.new, self.left, self.submitted = ids, new, new, submitted
        self.done, self.next = 0, 0


if __name__ == "__main__":
    serve(lambda _: LlamaCpp(sys.argv[2]))
