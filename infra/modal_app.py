"""The app on Modal: its functions, what they are made of, and how one is run for a session or deployed for good.

Its name ends in a digest of the code: a run that goes on by itself keeps the code that it began with, whatever is edited.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from infra import modal_driver, modal_functions, modal_prices
from infra.modal_faults import explained
from infra.modal_image import Shipped, image
from infra.modal_limits import longest
from infra.modal_names import MOUNT, NAME, PASSED, secrets
from pipeline.resources import Resources

IDLE_SECONDS = 10
"""That a container waits for another job before it is given back: idle time is paid for."""
START_SECONDS = 1200
"""That a container may take until it is ready, its image brought to a machine: not to be confused with a stage's own limit."""
DRIVER = Resources(cpus=0.25, memory_gib=0.5)
"""What the driver of a detached run holds."""


def app(name: str, shipped: Shipped, volume: str) -> tuple[Any, Any]:
    """The app with all of its functions, and `execute` of them; `volume` is mounted, and made where it is missing."""
    import modal

    made = modal.App(name, include_source=False)
    names: Sequence[str] = secrets()
    common: dict[str, Any] = {
        "image": image(shipped),
        "secrets": [modal.Secret.from_name(one) for one in names],
        "include_source": False,
        "env": {name: os.environ[name] for name in PASSED if name in os.environ},
        "volumes": {MOUNT: modal.Volume.from_name(volume, create_if_missing=True, version=2)} if volume else {},
    }
    common |= {"timeout": longest(), "startup_timeout": START_SECONDS}
    rented = made.function(name="execute", scaledown_window=IDLE_SECONDS, **common)
    execute = rented(modal_functions.execute)
    driver: dict[str, Any] = {"cpu": DRIVER.cpus, "memory": int(DRIVER.memory_gib * 1024)}
    driver |= {"retries": modal.Retries(max_retries=3, initial_delay=1.0)}
    made.function(name="drive", scaledown_window=2, **driver, **common)(modal_driver.drive)
    return made, execute


class Session:
    """An app that runs for as long as this process holds it: when the process ends, be it killed, Modal ends its containers."""

    def __init__(self, shipped: Shipped, volume: str) -> None:
        self.shipped, self.volume = shipped, volume
        self._stack = ExitStack()
        modal_prices.refresh()
        with explained("could not start the app"):
            made, self.execute = app(NAME, shipped, volume)
            self._stack.enter_context(made.run())

    def close(self) -> None:
        """End the app, and every container of it."""
        with explained("could not stop the app"):
            self._stack.close()
