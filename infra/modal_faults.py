"""What Modal's client raises, as the one error that a person reads, with the command that mends it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from pipeline.errors import AGAIN, CorpusmillError, StageFailed, StoreError, UsageError


def check_installed() -> None:
    """Raise UsageError where the package is missing."""
    if find_spec("modal") is None:
        raise UsageError("Modal needs the package 'modal'", mend="pip install 'corpusmill[modal]'")


@contextmanager
def explained(what: str = "") -> Iterator[None]:
    """Raise what Modal's client raises inside as a CorpusmillError; `what` was being done."""
    import modal

    try:
        yield
    except modal.exception.Error as fault:
        raise _told(fault, what) from fault


def _told(fault: Exception, what: str) -> CorpusmillError:
    import modal

    said = (str(fault).strip() or type(fault).__name__).splitlines()[0]
    lower = said.lower()
    if isinstance(fault, modal.exception.AuthError):
        return UsageError(f"Modal does not know who you are: {said}", mend="make a token: modal setup")
    if isinstance(fault, modal.exception.NotFoundError):
        return UsageError(f"Modal: {said}", mend=_missing(lower))
    if isinstance(fault, modal.exception.PermissionDeniedError):
        return UsageError(f"Modal refuses this: {said}", mend="see modal token info, and your role in that workspace")
    if isinstance(fault, modal.exception.ResourceExhaustedError):
        return UsageError(f"Modal gives no more: {said}", mend="see the limits and the budget of your workspace")
    if isinstance(fault, modal.exception.ConnectionError):
        at = os.environ.get("MODAL_SERVER_URL", "")
        where = f" at {at}" if at else ""
        return StoreError(f"Modal cannot be reached{where}: {said}", mend=f"see the network; {AGAIN}")
    if isinstance(fault, modal.exception.RemoteError) and "image" in lower:
        return StageFailed(f"Modal could not build the image: {said}", mend="modal app logs tells the rest; mend it")
    if isinstance(fault, modal.exception.VersionError):
        return UsageError(f"Modal refuses this client: {said}", mend="pip install -U modal")
    return StageFailed(f"Modal{' ' + what if what else ''}: {said}", mend=AGAIN)


def _missing(said: str) -> str:
    if "secret" in said:
        return "make it: modal secret create NAME KEY=VALUE; or name others in CORPUSMILL_MODAL_SECRETS"
    if "environment" in said:
        return "see modal environment list; name one as --on modal://ENVIRONMENT, or in MODAL_ENVIRONMENT"
    if "volume" in said:
        return "make it: modal volume create NAME --version=2; or deploy: corpusmill infra modal deploy"
    if "app" in said or "function" in said:
        return "deploy it: corpusmill infra modal deploy"
    return "see modal app list"
