"""The page of one turn: its exact prompt, and the turn run again without effects."""

from dataclasses import dataclass

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from stream_worker.console.conversation import Turn
from stream_worker.console.frame import Frame, read_form
from stream_worker.console.prompt import Again
from stream_worker.console.rehearsal import Found, Rehearsal
from stream_worker.contracts.analysis import Analysis
from stream_worker.errors import StreamWorkerError
from stream_worker.tokens import PromptMessages


@dataclass(slots=True)
class TurnPages:
    frame: Frame
    rehearsal: Rehearsal

    def routes(self) -> list[Route]:
        return [Route("/turn", self.turn), Route("/turn", self.again, methods=["POST"])]

    async def turn(self, request: Request) -> Response:
        query = request.query_params
        return await self._show(request, query.get("id", ""), query.get("turn", ""), runs=False)

    async def again(self, request: Request) -> Response:
        form = await read_form(request)
        if (refusal := self.frame.refused(request, form)) is not None:
            return refusal
        if not self.rehearsal.may_run:
            return PlainTextResponse("Turns are run again only where the console was started with --rehearse.", 403)
        return await self._show(request, form.get("id", ""), form.get("turn", ""), runs=True)

    async def _show(self, request: Request, key: str, turn_id: str, *, runs: bool) -> Response:
        if self.frame.masks(request):
            return PlainTextResponse("A prompt is shown only to who may read the conversation.", 403)
        turn = self._turn(key, turn_id)
        analysis = turn.analysis if turn is not None else None
        if turn is None or analysis is None or analysis.generation is None:
            return self.frame.missing(
                request, "No model answered this turn, or it lies before the window that is kept."
            )
        found, again, trouble = await self._ask(key, analysis, runs=runs)
        values = {
            "key": key,
            "turn": turn,
            "generation": analysis.generation,
            "found": found,
            "messages": found.prompt.messages if found and isinstance(found.prompt, PromptMessages) else (),
            "again": again,
            "may_run": self.rehearsal.may_run,
            "trouble": trouble,
            "watch": [],
        }
        return self.frame.page(request, "turn", values)

    async def _ask(self, key: str, analysis: Analysis, *, runs: bool) -> tuple[Found | None, Again | None, str]:
        """Reading the state and running a model take their time, so a thread of its own waits for them."""
        found, again = None, None
        try:
            found = await to_thread.run_sync(self.rehearsal.find, key, analysis)
            if runs and found is not None:
                again = await to_thread.run_sync(self.rehearsal.again, key, analysis)
        except StreamWorkerError as error:
            return found, None, str(error)
        return found, again, ""

    def _turn(self, key: str, turn_id: str) -> Turn | None:
        conversation = self.frame.view.board.conversations.get(key)
        return None if conversation is None else conversation.turns.get(turn_id)
