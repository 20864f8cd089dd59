"""The models: their files, whether they fit the settings, and whether they fit into memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stream_worker.doctor.finding import Finding, Group, Says
from stream_worker.errors import StreamWorkerError
from stream_worker.inference.memory import usable_bytes
from stream_worker.inference.model_facts import ModelFacts, model_facts
from stream_worker.settings import Settings

_SAYS = Says(Group.MODEL)
_GIB = 2**30
_ROOM = 0.9
"""Of the memory; the rest is for everything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelGroupFacts:
    """`problem` says why the model cannot be used at all; `bytes_per_number` is 4 for float32, 2 for the others."""

    problem: str
    cure: str
    folder: Path | None
    model: ModelFacts | None
    bytes_per_number: int
    memory_bytes: int


def gather(settings: Settings, *, on_gpu: bool) -> ModelGroupFacts | None:
    """None where the engine needs no model of this machine."""
    if settings.engine.kind != "torch":
        return None
    from stream_worker.cache import cache_folder
    from stream_worker.inference.models import resolve_model

    full = settings.engine.dtype == "float32" or (settings.engine.dtype == "auto" and not on_gpu)
    memory = _gpu_bytes(settings) if on_gpu else usable_bytes()
    folder, facts, problem, cure = None, None, "", ""
    try:
        engine = settings.engine
        folder = resolve_model(engine.model, engine.revision, cache_folder("models"), lambda _: None).folder
        facts = model_facts(folder)
    except StreamWorkerError as error:
        problem, _, cure = str(error).partition("; get it with: ")
    except (ValueError, KeyError) as error:
        problem, cure = f"the files of the model are damaged: {error}", f"hf download {settings.engine.model}"
    return ModelGroupFacts(
        problem=problem,
        cure=cure,
        folder=folder,
        model=facts,
        bytes_per_number=4 if full else 2,
        memory_bytes=memory,
    )


def judge(facts: ModelGroupFacts | None, settings: Settings) -> Iterator[Finding]:
    engine = settings.engine
    if facts is None:
        yield _SAYS.fine("files", f"engine.kind is {engine.kind}: no model is loaded into this process")
        return
    model = facts.model
    if facts.problem or model is None:
        cure = facts.cure or f"hf download {engine.model}"
        yield _SAYS.error("files", facts.problem, "The worker stops at its start.", cure)
        return
    if model.absent:
        absent = ", ".join(model.absent[:3])
        yield _SAYS.error(
            "files",
            f"{facts.folder} lacks {len(model.absent)} files of the weights: {absent}",
            "The worker stops at its start.",
            f"hf download {engine.model}",
        )
        return
    yield _SAYS.fine("files", f"{engine.model}: {model.parameters / 1e6:.0f} million parameters, safetensors")
    if model.has_chat_template:
        yield _SAYS.fine("template", "it has a chat template")
    else:
        yield _SAYS.error(
            "template",
            "the model has no chat template",
            "Without one nobody knows how it wants a conversation to be written.",
            "choose a model that was made for chats, often called -Instruct or -Chat",
        )
    yield from _context(model, settings)
    yield from _memory(facts, model, settings)


def _context(model: ModelFacts, settings: Settings) -> Iterator[Finding]:
    wanted, reply = settings.engine.max_context_tokens, settings.engine.sampling.max_new_tokens
    if 0 < model.max_context_tokens < wanted:
        yield _SAYS.error(
            "context",
            f"engine.max_context_tokens is {wanted}, the model was made for {model.max_context_tokens}",
            "Beyond that a model writes nonsense.",
            f"set engine.max_context_tokens: {model.max_context_tokens}",
        )
    elif reply * 2 > wanted:
        yield _SAYS.warning(
            "context",
            f"a reply may take {reply} of {wanted} tokens",
            "Little is left for the conversation: history is cut early.",
            "raise engine.max_context_tokens, or lower sampling.max_new_tokens",
        )
    else:
        yield _SAYS.fine("context", f"{wanted} tokens of prompt and reply")


def _memory(facts: ModelGroupFacts, model: ModelFacts, settings: Settings) -> Iterator[Finding]:
    """Weights and cache against what there is; and how many turns of full length the cache holds."""
    weights = model.parameters * facts.bytes_per_number
    cache = settings.engine.kv_cache_bytes
    per_turn = model.cache_numbers_per_token * facts.bytes_per_number * settings.engine.max_context_tokens
    turns = cache // per_turn if per_turn else 0
    needed = f"{weights / _GIB:.2f} GiB of weights and {cache / _GIB:.2f} GiB of cache"
    there = f"of {facts.memory_bytes / _GIB:.1f} GiB"
    if weights + cache > facts.memory_bytes * _ROOM:
        yield _SAYS.error(
            "memory",
            f"{needed} {there}",
            "The process would be killed for memory, or fail to load.",
            "lower engine.kv_cache_bytes, choose a smaller model, or a larger machine",
        )
    elif turns < 1:
        yield _SAYS.error(
            "memory",
            f"the cache holds less than one turn of {settings.engine.max_context_tokens} tokens",
            "Long conversations would become dead letters.",
            f"set engine.kv_cache_bytes to at least {per_turn}",
        )
    else:
        yield _SAYS.fine("memory", f"{needed} {there}; the cache holds {turns} turns of full length")


def _gpu_bytes(settings: Settings) -> int:
    from stream_worker.inference.gpus import free_gpu_bytes

    return free_gpu_bytes(int(settings.device.partition(":")[2] or 0))
