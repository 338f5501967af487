"""The output of containers: streamed as it comes, fetched afterwards."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from modal_proto import api_pb2 as pb

from tests.modal_servicer.apps import running
from tests.modal_servicer.state import Container, Line, State


class Logs:
    """Lines are kept per app, and found by function, call, container, stream, text and time."""

    def __init__(self, state: State) -> None:
        self.state = state

    async def AppGetLogs(self, request: pb.AppGetLogsRequest, _: Container | None) -> AsyncIterator[pb.TaskLogsBatch]:
        app = self.state.app(request.app_id)
        seen = int(request.last_entry_id.partition("-")[0] or 0)
        deadline = time.monotonic() + request.timeout
        while True:
            while seen < len(app.lines):
                line, seen = app.lines[seen], seen + 1
                if wanted(line, request, request.file_descriptor):
                    yield batch(line, seen)
            if app.stopped and not running(self.state, app):
                yield pb.TaskLogsBatch(app_done=True, entry_id=f"{seen}-0")
                return
            left = deadline - time.monotonic()
            if left <= 0:
                return
            here = seen
            await self.state.pulse.until(lambda: len(app.lines) > here or app.stopped, left)  # noqa: B023
            if app.stopped:
                await self.state.pulse.until(lambda: not running(self.state, app), 60)

    async def AppFetchLogs(self, request: pb.AppFetchLogsRequest, _: Container | None) -> pb.AppFetchLogsResponse:
        lines = list(self._between(request, request.source))
        return pb.AppFetchLogsResponse(batches=[batch(line, number) for number, line in lines[-request.limit :]])

    async def AppCountLogs(self, request: pb.AppCountLogsRequest, _: Container | None) -> pb.AppCountLogsResponse:
        answer = pb.AppCountLogsResponse(app_id=request.app_id)
        counts: dict[int, list[int]] = {}
        for _number, line in self._between(request, request.source):
            start = int(line.at // request.bucket_secs * request.bucket_secs)
            counts.setdefault(start, [0, 0])[line.descriptor == pb.FILE_DESCRIPTOR_STDERR] += 1
        for start, (out, err) in sorted(counts.items()):
            bucket = answer.buckets.add(stdout_logs=out, stderr_logs=err)
            bucket.bucket_start_at.FromSeconds(start)
        return answer

    def _between(self, request: Any, descriptor: int) -> list[tuple[int, Line]]:
        since, until = request.since.ToNanoseconds() / 1e9, request.until.ToNanoseconds() / 1e9
        lines = enumerate(self.state.app(request.app_id).lines, 1)
        return [
            (number, line)
            for number, line in lines
            if since <= line.at <= until and wanted(line, request, descriptor) and request.search_text in line.text
        ]


def wanted(line: Line, request: Any, descriptor: int) -> bool:
    """True if a line is of what the request names."""
    asked = (request.function_id, request.function_call_id, request.task_id, descriptor)
    has = (line.function, line.call, line.container, line.descriptor)
    return all(not ask or ask == have for ask, have in zip(asked, has, strict=True))


def batch(line: Line, number: int) -> pb.TaskLogsBatch:
    """A line as the stream gives it."""
    log = pb.TaskLogs(
        data=line.text,
        file_descriptor=line.descriptor,
        timestamp=line.at,
        timestamp_ns=int(line.at * 1e9),
        function_call_id=line.call,
        input_id=line.input,
        container_id=line.container,
    )
    return pb.TaskLogsBatch(
        task_id=line.container, function_id=line.function, input_id=line.input, entry_id=f"{number}-0", items=[log]
    )
