"""Names that this machine and the containers on Modal agree on; some are a person's to choose, through the environment."""

from __future__ import annotations

import os

from pipeline.errors import UsageError

NAME = "corpusmill"
MOUNT = "/corpusmill/volume"
"""Where the Volume that holds the store lies in a container."""
SECRETS, VOLUME = "CORPUSMILL_MODAL_SECRETS", "CORPUSMILL_MODAL_VOLUME"
"""Name the secrets of Modal that every function gets, separated by commas; and the Volume that holds the store."""
TRY = "CORPUSMILL_MODAL_TRY_SECONDS"
"""Names the longest try of a job in seconds, in place of Modal's 24 hours."""
PASSED = (TRY, VOLUME, SECRETS)
"""Settings of this machine that hold in containers too. There are no secrets among them."""

BUSY, ONWARD = "busy", "onward"
"""In place of a job's end: another run makes the same; the time of this container is up, and the job goes on in another."""


def secrets() -> list[str]:
    """The names of the secrets; their values never leave Modal."""
    return [name.strip() for name in os.environ.get(SECRETS, "").split(",") if name.strip()]


def volume_name() -> str:
    """The name of the Volume that holds the store."""
    return os.environ.get(VOLUME, NAME)


def volume_of(store: str) -> str:
    """The Volume that a store lies on, or an empty text."""
    scheme, _, rest = store.partition("://")
    return rest.partition("/")[0] if scheme == "modal" else ""


def needs_secret(store: str) -> None:
    """Raise UsageError for a store that no container could open, since no secret is named."""
    if store.startswith("s3://") and not secrets():
        raise UsageError(
            f"containers on Modal have no credentials for the store {store}",
            mend=f"name a secret that holds them: {SECRETS}=NAME (made by: modal secret create NAME AWS_ACCESS_KEY_ID=…)",
        )
