"""Messages and what they should have meant: the queue of what was hardly understood, and examples to learn from."""

from collections import OrderedDict
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from stream_worker.console.frame import Frame, read_form
from stream_worker.console.golden import examples
from stream_worker.console.labels import labelled, unsure

_MOST_DONE = 10_000


@dataclass(slots=True)
class LabelPages:
    """What was saved is left out of the queue, for as long as the console runs."""

    frame: Frame
    _done: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def routes(self) -> list[Route]:
        return [
            Route("/labels", self.labels),
            Route("/labels", self.save, methods=["POST"]),
            Route("/example.yml", self.example),
        ]

    async def labels(self, request: Request) -> Response:
        masked = self.frame.masks(request)
        values = {
            "waiting": [] if masked else unsure(self.frame.view.board, self._done),
            "done": len(self._done),
            # While somebody chooses, nothing may move.
            "watch": [],
        }
        return self.frame.page(request, "labels", values)

    async def save(self, request: Request) -> Response:
        """The chosen ones as one file of examples."""
        form = await read_form(request)
        if (refusal := self.frame.refused(request, form)) is not None:
            return refusal
        found = labelled(self.frame.view.board, form)
        if not found:
            return PlainTextResponse("Choose an intent of at least one message first.", 422)
        for name in found:
            self._done[name] = None
        while len(self._done) > _MOST_DONE:
            self._done.popitem(last=False)
        return self.frame.file(request, "examples.yml", examples(found.values()))

    async def example(self, request: Request) -> Response:
        """A turn's message under another intent."""
        query = request.query_params
        turn_id, intent = query.get("turn", ""), query.get("intent", "")
        found = labelled(self.frame.view.board, {f"{turn_id} {query.get('id', '')}": intent})
        if not found:
            return PlainTextResponse("There is no such turn in the window that is kept, or no intent was chosen.", 404)
        return self.frame.file(request, f"{intent}-{turn_id[:8]}.yml", examples(found.values()))
