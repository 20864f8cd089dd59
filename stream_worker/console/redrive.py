"""Dead letters sent back from the page.

The topic is read anew before, so that what somebody else sent back stays where it is.
"""

from dataclasses import dataclass
from typing import Protocol

from stream_worker.kafka.dead_letters import LetterDesk, read_letters
from stream_worker.kafka.letters import Edit, Fate, Letter, Wanted
from stream_worker.settings import Settings


class Desk(Protocol):
    """Sends letters back; `KafkaDesk` does."""

    def send_back(self, places: frozenset[str], *, by: str, again: bool) -> int:
        """Those of these that were not sent back yet, or with `again` all; how many went. None is cut."""
        ...

    def send_edited(self, place: str, edit: Edit, *, by: str, again: bool) -> int:
        """One, with another key and value; 0 where it was sent back meanwhile, and `again` is off."""
        ...


@dataclass(frozen=True, slots=True)
class KafkaDesk:
    settings: Settings

    def send_back(self, places: frozenset[str], *, by: str, again: bool) -> int:
        """Raises StreamWorkerError where the topic cannot be read or written."""
        chosen = self._found(places, again=again)
        if chosen:
            LetterDesk(self.settings).redrive(chosen, by=by)
        return len(chosen)

    def send_edited(self, place: str, edit: Edit, *, by: str, again: bool) -> int:
        """Raises StreamWorkerError where the topic cannot be read or written."""
        chosen = self._found(frozenset({place}), again=again)
        for letter in chosen:
            LetterDesk(self.settings).redrive_edited(letter, edit, by=by)
        return len(chosen)

    def _found(self, places: frozenset[str], *, again: bool) -> list[Letter]:
        fates = frozenset(Fate) if again else frozenset({Fate.OPEN})
        found = read_letters(self.settings).find(Wanted(places=places, fates=fates))
        return [letter for letter in found if not letter.is_truncated]
