"""Fact tables as questions with checkable answers: pure code, no stage, no network."""
