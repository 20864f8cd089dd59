"""The web page: conversations, evidence and the group at work.

It reads Kafka as its own consumer, in no group, and writes nothing but events.
Workers do not know that it is there.
"""
