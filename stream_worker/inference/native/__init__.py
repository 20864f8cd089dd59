"""One native call a step: the C++ source, how it is built on first use, and how Python calls it."""
