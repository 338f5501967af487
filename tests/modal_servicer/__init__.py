"""A small Modal servicer of our own, for tests; `servicer()` is all that others need of it."""
