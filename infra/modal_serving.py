"""Serves a model on Modal: the service's own ASGI app in a container that is there only while somebody asks.

Its folder lies on the Volume, under a name made from its content: a model that was served before is not sent again.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.modal_faults import check_installed, explained
from infra.modal_image import Shipped, image
from infra.modal_names import MOUNT, NAME, volume_name

SERVED = "CORPUSMILL_SERVED"
"""Names, in the container, the folder that is served, relative to the Volume."""
FOLDER = "served"
IDLE_SECONDS = 300
MOST_AT_ONCE = 32


def web() -> Any:
    """The ASGI app, in the container: its model loaded from the mounted Volume."""
    from stages.service.launch import app_of

    return app_of(Path(MOUNT) / os.environ[SERVED])


def serve(folder: Path, tell: Callable[[str], None], *, public: bool = False, idle: int = IDLE_SECONDS) -> str:
    """Deploy the service of `folder`; its URL. Where it is not `public`, who asks needs a proxy token of the workspace."""
    check_installed()
    from stages.service.launch import read_launch

    launch = read_launch(folder)
    place = sent(folder, tell)
    name = app_name(launch.name)
    import modal

    with explained("could not deploy the service"):
        made = modal.App(name, include_source=False)
        volume = modal.Volume.from_name(volume_name(), create_if_missing=True, version=2)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        made.function(
            name="web", image=image(Shipped()), volumes={MOUNT: volume}, env={SERVED: place}, include_source=False,
            cpu=float(max(1, launch.threads)), memory=max(1024, int(size / 2**20 * 1.5) + 512),
            scaledown_window=idle, timeout=600,
        )(modal.concurrent(max_inputs=MOST_AT_ONCE)(modal.asgi_app(requires_proxy_auth=not public)(web)))  # fmt: skip
        made.deploy()
        return str(modal.Function.from_name(name, "web").get_web_url())


def app_name(model: str) -> str:
    """The name of the app that serves a model of this name."""
    return f"{NAME}-serve-{re.sub(r'[^a-z0-9]+', '-', model.lower()).strip('-') or 'model'}"


def sent(folder: Path, tell: Callable[[str], None]) -> str:
    """Where the files of `folder` lie on the Volume; they are sent where they are not yet, and count once all are there."""
    from infra.modal_desk import there
    from pipeline import digest
    from pipeline.object_files import ObjectFiles, together

    names = [path.relative_to(folder).as_posix() for path in digest.files_below(folder)]
    records = {name: digest.of_file(folder / name) for name in names}
    place = f"{FOLDER}/{digest.of_files(records)[:16]}"
    there()  # makes the Volume where it is missing
    files = ObjectFiles(f"modal://{volume_name()}/{place}", Path(os.devnull))
    if not files.exists("complete"):
        size = sum(record.size for record in records.values())
        tell(f"sending {len(names)} files, {size / 2**20:,.0f} MiB, to the Volume {volume_name()}")
        began = time.monotonic()
        together(lambda name: files.put(folder / name, name), names)
        files.create("complete", b"")
        tell(f"sent in {time.monotonic() - began:,.0f} s")
    return place
