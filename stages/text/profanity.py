"""Words that a corpus for a polite model does without; short on purpose, for a longer list drops much that is harmless."""

from __future__ import annotations

import re

STEMS = (
    "fuck",
    "shit",
    "bitch",
    "cunt",
    "asshole",
    "nigger",
    "nigga",
    "faggot",
    "slut",
    "whore",
    "dildo",
    "porn",
    "bullshit",
    "motherfuck",
)
"""Stems: a word that begins with one counts."""

PROFANE = re.compile(rf"\b(?:{'|'.join(STEMS)})\w*")
