"""The pages of dead letters: what came, and how it goes back, as it came or edited."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from stream_worker.console.board import LETTERS
from stream_worker.console.frame import Frame
from stream_worker.console.letters import Letter, Letters, Return, complaint
from stream_worker.console.redrive import Desk
from stream_worker.contracts.decode import DecodeRules
from stream_worker.kafka.letters import Edit, Fate


@dataclass(slots=True)
class LetterPages:
    """`desk` is None where nothing may be sent back."""

    frame: Frame
    desk: Desk | None
    who: str

    def routes(self) -> list[Route]:
        return [
            Route("/letters", self.letters),
            Route("/letters/redrive", self.preview),
            Route("/letters/redrive", self.redrive, methods=["POST"]),
            Route("/letters/edit", self.edit),
            Route("/letters/edit", self.redrive_edited, methods=["POST"]),
        ]

    @property
    def _letters(self) -> Letters:
        return self.frame.view.board.letters

    async def letters(self, request: Request) -> Response:
        query = request.query_params
        letters, reason, worker = self._letters, query.get("reason", ""), query.get("worker", "")
        values = {
            "groups": letters.groups(),
            "reason": reason,
            "worker": worker,
            "letters": letters.newest(reason, worker),
            "going": letters.going_back(reason, worker),
            "opened": letters.find(query.get("id", "")),
            "sent": int(sent) if (sent := query.get("sent", "")).isdigit() else None,
            "watch": [LETTERS],
        }
        return self.frame.page(request, "letters", values)

    async def preview(self, request: Request) -> Response:
        """How many letters would be sent back, before they are: one, or those of a filter."""
        query = request.query_params
        letters, reason, worker = self._letters, query.get("reason", ""), query.get("worker", "")
        one = letters.find(query.get("id", ""))
        if one is not None:
            going = Return(() if one.is_cut else (one,), before=int(one.fate is not Fate.OPEN), cut=int(one.is_cut))
        else:
            going = letters.going_back(reason, worker)
        values: dict[str, Any] = {
            "going": going,
            "one": one,
            "reason": reason,
            "worker": worker,
            "who": self.who,
            "watch": [],
        }
        return self.frame.page(request, "redrive", values)

    async def redrive(self, request: Request) -> Response:
        """Sends back exactly what was shown, less what somebody else has sent back meanwhile."""
        return await self.frame.change(request, self.desk, self._send_back)

    async def _send_back(self, _: Request, form: Mapping[str, str], desk: Desk) -> Response:
        places, again = frozenset(form.get("places", "").split()), form.get("again") == "yes"
        if not places:
            return PlainTextResponse("There is no letter to send back.", 422)
        sent = await to_thread.run_sync(lambda: desk.send_back(places, by=self.who, again=again))
        return _sent(form.get("reason", ""), sent)

    async def edit(self, request: Request) -> Response:
        letter = self._letters.find(request.query_params.get("id", ""))
        if letter is None:
            return self.frame.missing(request, "There is no such letter in the window that is kept.")
        return self._editor(request, letter, letter.original)

    async def redrive_edited(self, request: Request) -> Response:
        """Sends back what a person made of a letter, where the workers can read it now; else says why they cannot."""
        return await self.frame.change(request, self.desk, self._send_edited)

    async def _send_edited(self, request: Request, form: Mapping[str, str], desk: Desk) -> Response:
        letter, again = self._letters.find(form.get("id", "")), form.get("again") == "yes"
        if letter is None or not letter.may_be_edited:
            return PlainTextResponse("There is no such letter, or not all of it.", 404)
        # A browser ends the lines of a form in its own way.
        edit = Edit(form.get("key", "").encode(), form.get("value", "").replace("\r\n", "\n").encode())
        if trouble := complaint(letter, edit, DecodeRules.of(self.frame.resolved.settings)):
            return self._editor(request, letter, edit, trouble, 422)
        sent = await to_thread.run_sync(lambda: desk.send_edited(letter.place, edit, by=self.who, again=again))
        return _sent(letter.reason, sent)

    def _editor(self, request: Request, letter: Letter, edit: Edit, trouble: str = "", status: int = 200) -> Response:
        values = {
            "letter": letter,
            "key": edit.key.decode("utf-8", "replace"),
            "value": edit.value.decode("utf-8", "replace"),
            "trouble": trouble,
            "who": self.who,
            "watch": [],
        }
        return self.frame.page(request, "edit", values, status)


def _sent(reason: str, sent: int) -> Response:
    return RedirectResponse(f"/letters?{urlencode({'reason': reason, 'sent': sent})}", 303)
