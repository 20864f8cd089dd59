"""The stages of a turn, each a pure function before the device and one after."""
