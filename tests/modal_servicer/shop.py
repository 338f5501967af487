"""An app for the servicer's own tests. It is loaded as a file, so that a container gets this one file and no more."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import modal

app = modal.App("shop")
volume = modal.Volume.from_name("store", create_if_missing=True, version=2)
image = modal.Image.debian_slim().env({"DECLARED": "by the image"}).workdir("/srv")
VOL = Path("/vol")


@app.function()
def square(number: int) -> int:
    """The plainest function."""
    print(f"squaring {number}")
    return number * number


@app.function()
def count(number: int) -> Iterator[int]:
    """A generator."""
    yield from range(number)


@app.function()
def echo(data: bytes) -> bytes:
    """What is too large for a message travels as a blob, both ways."""
    return data[::-1]


@app.function(retries=modal.Retries(max_retries=1, initial_delay=0.0))
def flaky() -> None:
    """Fails each time."""
    raise ValueError("no luck")


@app.function(timeout=1)
def slow() -> None:
    """Takes longer than it may."""
    time.sleep(60)


@app.function(timeout=600)
def idle(marker: str) -> None:
    """Waits for its end, with a child that would outlive it."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", marker], start_new_session=True)
    print("idling")
    time.sleep(600)


@app.function(image=image, secrets=[modal.Secret.from_name("planted")])
def told() -> dict[str, str]:
    """The environment of a container that declares a secret."""
    return {**os.environ, "directory": str(Path.cwd())}


@app.function()
def surroundings() -> dict[str, object]:
    """What a container sees of the world."""
    found = {
        name: _imports(name) for name in ("pipeline", "stages", "tests", "shop", "modal", "pip", "numpy", "pytest")
    }
    return {
        "environment": dict(os.environ),
        "directory": str(Path.cwd()),
        "home": sorted(path.name for path in Path.home().iterdir() if not path.name.startswith(".")),
        "processes": sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()),
        "tmp": sorted(os.listdir("/tmp") + os.listdir("/dev/shm")),
        "imports": found,
    }


def _imports(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


@app.function(volumes={"/vol": volume})
def train(steps: int) -> list[int]:
    """Goes on from the last commit; answers the steps that this attempt made."""
    state, made = VOL / "step", []
    for step in range(int(state.read_text()) if state.exists() else 0, steps):
        state.write_text(str(step + 1))
        volume.commit()
        made.append(step)
        (VOL / f"uncommitted-{step}").write_text("lost with the machine")
        print(f"step {step}")
        time.sleep(0.2)
    return made


@app.function(volumes={"/vol": volume})
def patient() -> str:
    """Uses the time that it is given when its machine is taken back; the second attempt finds what the first one saved."""
    saved = VOL / "saved"
    if saved.exists():
        return saved.read_text()
    try:
        print("patient")
        time.sleep(600)
    finally:
        saved.write_text("in its grace")
    raise AssertionError


@app.function(volumes={"/vol": volume})
def listed() -> list[str]:
    """What a container that starts now finds in the volume."""
    return sorted(os.listdir(VOL))


@app.function(volumes={"/vol": volume}, timeout=600)
def writer() -> None:
    """Commits one file, leaves another one uncommitted, and waits."""
    (VOL / "committed").write_text("1")
    volume.commit()
    (VOL / "uncommitted").write_text("2")
    print("both written")
    time.sleep(600)


@app.function(volumes={"/vol": volume})
def reader() -> tuple[list[str], str, list[str]]:
    """Sees nothing new until it reloads, cannot reload while it holds a file open, then sees what was committed meanwhile."""
    print("looking")
    while not Path("/vol/committed").exists() and not os.environ.get("NEVER"):
        before, refusal = sorted(os.listdir(VOL)), ""
        with (VOL / "first").open():
            try:
                volume.reload()
            except RuntimeError as error:
                refusal = str(error)
        time.sleep(0.1)
        volume.reload()
        if "second" in (after := sorted(os.listdir(VOL))):
            return before, refusal, after
    raise AssertionError


@app.cls()
class Model:
    """A class: made once in a container, with its parameter, then asked."""

    size: int = modal.parameter(default=3)

    @modal.enter()
    def load(self) -> None:
        """Runs before the first question."""
        self.weights = self.size

    @modal.method()
    def ask(self, number: int) -> int:
        """Answers."""
        return self.weights * number


@app.function(scaledown_window=2, max_containers=1)
@modal.concurrent(max_inputs=4)
@modal.asgi_app(requires_proxy_auth=True)
def site() -> object:
    """A web function: an ASGI app that Modal's runtime serves; it answers the first request when a second one has come."""
    both = asyncio.Barrier(2)

    async def answer(scope: dict, receive: object, send: object) -> None:  # type: ignore[type-arg]
        if scope["type"] != "http":
            return
        await both.wait()
        message = await receive()  # type: ignore[operator]
        body = f"{scope['method']} {scope['path']} {message['body'].decode()} from {os.environ['MODAL_TASK_ID']}"
        headers = [(b"content-type", b"text/plain"), (b"x-made-by", b"shop")]
        await send({"type": "http.response.start", "status": 203, "headers": headers})  # type: ignore[operator]
        for piece in body.split():
            await send({"type": "http.response.body", "body": piece.encode() + b"\n", "more_body": True})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    return answer
