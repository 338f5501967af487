"""Addresses that servers listen on: how this machine reaches them, and a warning where others can too."""

from __future__ import annotations

import ipaddress
import sys


def reachable(host: str) -> str:
    """`host` as a URL of this machine names it: loopback where a server listens everywhere, IPv6 in brackets."""
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def warn_if_open(host: str, what: str) -> None:
    """Warn on standard error where others than this machine's users reach `what`, for it asks for no password."""
    try:
        closed = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name
        closed = False
    if not closed:
        print(
            f"warning: whoever reaches {host or 'this machine'} can use {what}; it asks for no password",
            file=sys.stderr,
        )
