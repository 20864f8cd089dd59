"""What every part of the settings tree shares: frozen, unknown keys are refused, and rules that span fields."""

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)


def conflict(sentence: str, *fields: str) -> PydanticCustomError:
    """What a validator raises where `fields` (dotted, from its section) do not go together.

    The complaint stands where the first of them that somebody gave was given.
    """
    return PydanticCustomError("conflict", "{sentence}", {"sentence": sentence, "fields": fields})
