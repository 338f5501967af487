"""Containers: one fresh process per input in a room of its own, started when inputs wait, killed with all it started."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from modal_proto import api_pb2 as pb

from tests.modal_servicer.apps import Apps, layout, running
from tests.modal_servicer.calls import FAILURE, TERMINATED, Calls
from tests.modal_servicer.files import Files
from tests.modal_servicer.objects import BUILDER, Objects
from tests.modal_servicer.packages import seen
from tests.modal_servicer.room import command, furnish
from tests.modal_servicer.state import App, Container, Function, Input, Line, State, new_id
from tests.modal_servicer.volumes import Volumes

AT_ONCE = 4  # containers that this machine runs at a time; Modal would start more
SLOWEST = 240  # seconds that a start may always take here: a busy machine is no fault of what is tested
GRACE = 30.0  # seconds between the interrupt and the kill, as Modal gives them


class Containers:
    """The scheduler: looks at each change whether a container is missing, and what became of those that run."""

    def __init__(
        self,
        state: State,
        files: Files,
        objects: Objects,
        volumes: Volumes,
        listen: Callable[[Container], Awaitable[None]],
    ) -> None:
        self.state, self.files, self.objects, self.volumes, self._listen = state, files, objects, volumes, listen
        self.calls = Calls(state, self.kill)
        self._lives: set[asyncio.Task[None]] = set()

    async def schedule(self, apps: Apps) -> None:
        """Start what is missing, end apps whose client is silent or that have no more to do; as long as the servicer runs."""
        while True:
            for app in list(self.state.apps.values()):
                if app.state == pb.APP_STATE_DETACHED_DISCONNECTED and not self._busy(app):
                    await apps.end(app)
                silent = time.time() - app.heartbeat_at
                if silent > self.state.settings.get("heartbeat_timeout", math.inf):
                    await apps.disconnected(app)
            for function in list(self.state.functions.values()):
                self._start_missing(function)
            await self.state.pulse.until(lambda: False, 0.5)

    def _busy(self, app: App) -> bool:
        inputs = self.state.inputs.values()
        return bool(running(self.state, app)) or any(
            one.call.function.app == app.id and one.status != "done" for one in inputs
        )

    def _start_missing(self, function: Function) -> None:
        waiting = [
            one for one in self.state.inputs.values() if one.status == "queued" and one.call.function is function
        ]
        alive = [one for one in self.state.containers.values() if one.function is function and one.running]
        free = sum(self.room_left(one) for one in alive if not one.stopping)
        limit = function.definition.autoscaler_settings.max_containers or function.definition.concurrency_limit
        everywhere = sum(one.running for one in self.state.containers.values())
        missing = min(len(waiting) - free, (limit or AT_ONCE) - len(alive), AT_ONCE - everywhere)
        for _ in range(missing):
            container = Container(new_id("ta"), function, self.state.home / new_id("ro"))
            self.state.containers[container.id] = container
            task = asyncio.get_running_loop().create_task(self._live(container))
            self._lives.add(task)
            task.add_done_callback(self._lives.discard)

    def room_left(self, container: Container) -> int:
        """How many inputs a container may still take: one in its life, but for a web function, which keeps its containers."""
        definition = container.function.definition
        if definition.webhook_config.type:
            return int(max(1, definition.max_concurrent_inputs) - len(container.inputs))
        return 1 - container.served

    async def _live(self, container: Container) -> None:
        try:
            await self._start(container)
            assert container.process is not None and container.process.stdout and container.process.stderr
            aside = asyncio.gather(self._mind(container), self._commit(container))
            aside.add_done_callback(self._missed)
            await asyncio.gather(  # both end when no process is left that could write
                self._log(container, container.process.stdout, pb.FILE_DESCRIPTOR_STDOUT),
                self._log(container, container.process.stderr, pb.FILE_DESCRIPTOR_STDERR),
            )
            container.exit_code = await container.process.wait()
            aside.cancel()
            if not container.greeted and not container.stopping:
                said = "".join(line.text for line in self.state.app(container.function.app).lines[-5:])
                self.state.unmodelled.append(
                    f"a container died before it said hello, with {container.exit_code}: {said}"
                )
        except OSError as error:
            self.state.unmodelled.append(f"a container could not be started: {error}")
        finally:
            container.ended_at = time.time()
            if container.close is not None:
                container.close()
            self.volumes.drop(container)
            self._settle(container)
            for folder in (container.root, container.root.with_suffix(".volumes")):
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            self.state.pulse.beat()

    def _missed(self, aside: asyncio.Future[list[None]]) -> None:
        fault = None if aside.cancelled() else aside.exception()
        if fault is not None and not isinstance(fault, asyncio.CancelledError):
            self.state.unmodelled.append(f"beside a container the servicer failed with {fault!r}")

    async def _start(self, container: Container) -> None:
        function, root = container.function, container.root
        definition = function.definition
        container.environment, directory = self._environment(container)
        commands = self.objects.image(definition.image_id).commands if definition.image_id else []
        await asyncio.to_thread(furnish, root, directory, seen(tuple(commands), BUILDER))
        for layer in self.objects.image(definition.image_id).layers() if definition.image_id else []:
            copies = [line for line in layer.definition.dockerfile_commands if line.upper().startswith("COPY . ")]
            for line in copies:
                self.files.lay(layer.definition.context_mount_id, root / line.split()[2].lstrip("/"))
        for mount in definition.mount_ids:
            await asyncio.to_thread(self.files.lay, mount, root)
        binds: dict[str, tuple[Path, bool]] = {}
        for one in definition.volume_mounts:
            copy = root.with_suffix(".volumes") / one.volume_id
            await asyncio.to_thread(self.volumes.check_out, one.volume_id, container, copy, one.read_only)
            for inside in (f"/__modal/volumes/{one.volume_id}", one.mount_path):
                binds[inside] = (copy, one.read_only)
        (root / "run" / "arguments.pb").write_bytes(self._arguments(container).SerializeToString())
        await self._listen(container)
        container.argv = command(root, binds, directory)
        container.process = await asyncio.create_subprocess_exec(
            *container.argv,
            env=container.environment,
            cwd="/",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        if container.stopping:  # asked for in between
            self.kill(container, container.stopping)

    def _environment(self, container: Container) -> tuple[dict[str, str], str]:
        """Only what Modal sets, the image declares, and the declared secrets hold, in this order."""
        definition = container.function.definition
        app = self.state.app(container.function.app)
        threads = str(max(1, definition.resources.milli_cpu // 1000))
        values = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "PYTHONPATH": "/root",
            "PYTHONUNBUFFERED": "1",
            **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads),
            "MODAL_IS_REMOTE": "1",
            "MODAL_CLOUD_PROVIDER": "CLOUD_PROVIDER_LOOPBACK",
            "MODAL_REGION": "loopback",
            "MODAL_ENVIRONMENT": app.environment,
            "MODAL_IMAGE_ID": definition.image_id,
            "MODAL_TASK_ID": container.id,
            "MODAL_SERVER_URL": "unix:///run/modal.sock",
            "MODAL_CONTAINER_ARGUMENTS_PATH": "/run/arguments.pb",
        }
        directory = "/root"
        if definition.image_id:
            declared, directory = self.objects.image_environment(definition.image_id)
            values |= declared
        for secret in definition.secret_ids:
            values |= self.objects.secret(secret).values
        return values, directory

    def _arguments(self, container: Container) -> pb.ContainerArguments:
        function = container.function
        app = self.state.app(function.app)
        known = layout(self.state, app)
        for one in function.definition.object_dependencies:
            volume = self.volumes.volumes.get(one.object_id)
            known.objects.add(object_id=one.object_id, volume_metadata=volume.metadata() if volume else None)
        return pb.ContainerArguments(
            task_id=container.id,
            function_id=function.id,
            app_id=app.id,
            function_def=function.definition,
            serialized_params=function.parameters,
            environment_name=app.environment,
            app_layout=known,
        )

    async def _log(self, container: Container, stream: asyncio.StreamReader, descriptor: int) -> None:
        app = self.state.app(container.function.app)
        while text := await stream.read(65536):
            one = container.recent
            call = one.call.id if one else ""
            line = Line(
                text.decode(errors="replace"),
                descriptor,
                container.id,
                container.function.id,
                call,
                one.id if one else "",
            )
            app.lines.append(line)
            self.state.pulse.beat()

    async def _mind(self, container: Container) -> None:
        """A container that does not come up in time is ended."""
        definition = container.function.definition
        limit = max(definition.startup_timeout_secs or definition.timeout_secs, SLOWEST)
        await self.state.pulse.until(lambda: container.served or container.stopping, limit)
        if not container.served and not container.stopping:
            container.failure = pb.GenericResult(
                status=FAILURE, exception=f"the container did not start within {limit} seconds"
            )
            self.kill(container, "timeout")

    async def _commit(self, container: Container) -> None:
        """Commit in the background, as Modal does every few seconds, where a test wants that."""
        volumes = [one.volume_id for one in container.function.definition.volume_mounts if one.allow_background_commits]
        while seconds := self.state.settings.get("background_commits"):
            await asyncio.sleep(seconds)
            for volume in volumes:
                await self.volumes.commit(volume, container)

    def assign(self, container: Container, one: Input) -> None:
        """Give an input to a container; its time limit runs from now."""
        container.inputs[one.id] = one
        container.served += 1
        container.recent = one
        one.status, one.container, one.attempts = "running", container, one.attempts + 1
        limit = container.function.definition.timeout_secs
        one.timer = asyncio.get_running_loop().call_later(limit, self._overdue, container, one)

    def _overdue(self, container: Container, one: Input) -> None:
        if one.status == "running" and one.container is container:
            limit = container.function.definition.timeout_secs
            message = f"Task's current input {one.id} hit its timeout of {limit}s"
            self.kill(container, "timeout")
            self.calls.finish(one, pb.GenericResult(status=pb.GenericResult.GENERIC_STATUS_TIMEOUT, exception=message))

    def kill(self, container: Container, why: str) -> None:
        """Kill the container and all it started; what it did not commit is lost."""
        container.stopping, container.killed = container.stopping or why, True
        if container.process is not None and container.process.returncode is None:
            with suppress(ProcessLookupError):
                container.process.kill()

    def interrupt(self, container: Container, why: str) -> None:
        """Interrupt the container as Modal does, and kill it if it has not ended after the grace."""
        container.stopping = container.stopping or why
        assert container.process is not None
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended by itself
            children = Path(f"/proc/{container.process.pid}/task/{container.process.pid}/children").read_text().split()
            for child in children:
                os.kill(int(child), signal.SIGINT)
        asyncio.get_running_loop().call_later(GRACE, self.kill, container, why)

    def _settle(self, container: Container) -> None:
        """What becomes of the inputs of a container that has ended."""
        for one in list(container.inputs.values()):
            if one.status != "running" or one.container is not container:
                continue
            if one.call.cancelled or container.stopping in ("stopped", "cancelled"):
                self.calls.finish(one, pb.GenericResult(status=TERMINATED, exception="Input was cancelled by user"))
            elif container.stopping == "preempted":
                self.calls.requeue(one)
            else:
                self.calls.finish(one, container.failure or died(container))
        if container.failure is not None or (not container.served and not container.stopping):
            for one in list(self.state.inputs.values()):  # it never came up, and nor would the next one
                if one.status == "queued" and one.call.function is container.function:
                    self.calls.finish(one, container.failure or died(container))

    async def close(self) -> None:
        """End everything."""
        for container in self.state.containers.values():
            self.kill(container, "stopped")
        await asyncio.gather(*self._lives, return_exceptions=True)


def died(container: Container) -> pb.GenericResult:
    """The result of an input whose container ended by itself without an answer."""
    return pb.GenericResult(status=FAILURE, exception=f"the container exited with code {container.exit_code}")
