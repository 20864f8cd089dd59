"""JSON Schema (2020-12) of `bot.yaml`, for editors: made from the model that the loader validates with."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from stream_worker.bot.file import BotFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILE_NAME = "bot.schema.json"


def bot_schema() -> dict[str, Any]:
    return schema_of(BotFile, "The bot file")


def schema_of(model: type[BaseModel], title: str) -> dict[str, Any]:
    schema = model.model_json_schema(schema_generator=GenerateJsonSchema)
    return {"$schema": DIALECT, **schema, "title": title}
