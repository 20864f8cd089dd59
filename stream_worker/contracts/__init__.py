"""The wire types: what stands in the topics, one file a topic.

Each contract is a plain frozen dataclass whose annotations carry what the
JSON Schema needs; pydantic reads them at the edge (`TypeAdapter`), inside
they are ordinary values that orjson writes as they are.
"""
