"""The wire types: what stands in the topics, one file a topic.

Each contract is a plain dataclass whose annotations carry what the
JSON Schema needs; pydantic reads them at the edge (`TypeAdapter`), inside
they are ordinary values that orjson writes as they are. Records that are only
published have neither slots nor a frozen flag: they are written where they are
made, and orjson reads an instance's dictionary five times faster than slots.
"""
