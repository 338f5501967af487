"""Bytes: a store addressed by content, blobs and blocks over HTTP on loopback, and the mounts made of them."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from pathlib import Path, PurePosixPath

from aiohttp import web
from grpclib import GRPCError, Status
from modal.mount import client_mount_name
from modal_proto import api_pb2 as pb

from tests.modal_servicer.state import Container, State, Unmodelled, new_id, not_found

BLOCK = 8 * 1024 * 1024  # bytes, the unit in which a volume's files travel


class Files:
    """The store and what may be asked of it."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.store = state.home / "store"
        self.store.mkdir()
        self.blobs: dict[str, tuple[pb.BlobCreateRequest, Path]] = {}
        self.mounts: dict[str, list[pb.MountFile]] = {}
        self.client_mount = new_id("mo")

    def routes(self) -> list[web.RouteDef]:
        """What the HTTP server answers."""
        return [
            web.put("/blob/{id}", self._put_blob),
            web.get("/blob/{id}", self._get_blob),
            web.put("/block/{sha}", self._put_block),
            web.get("/block/{sha}/{start}/{end}", self._get_block),
            web.route("*", "/{path:.*}", self._unknown),
        ]

    def put(self, data: bytes) -> str:
        """Keep bytes; answers their SHA-256."""
        sha = hashlib.sha256(data).hexdigest()
        if not self.has(sha):  # several threads keep at once: what is there is whole
            scratch = self.state.home / new_id("ke")
            scratch.write_bytes(data)
            os.replace(scratch, self.store / sha)
        return sha

    def has(self, sha: str) -> bool:
        """True if bytes of that digest are kept."""
        return (self.store / sha).exists()

    def blob(self, blob_id: str) -> bytes:
        """The bytes of a blob that was uploaded."""
        if blob_id not in self.blobs or not self.blobs[blob_id][1].exists():
            raise not_found(f"Blob {blob_id}")
        return self.blobs[blob_id][1].read_bytes()

    def lay(self, mount_id: str, root: Path) -> None:
        """Write a mount's files under a container's root."""
        for file in self.mount(mount_id):
            target = root / PurePosixPath(file.filename).as_posix().lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.store / file.sha256_hex, target)
            target.chmod(file.mode or 0o644)

    def mount(self, mount_id: str) -> list[pb.MountFile]:
        """The files of a mount; the client's own mount has none here, for the interpreter brings the client."""
        if mount_id == self.client_mount:
            return []
        if mount_id not in self.mounts:
            raise not_found(f"Mount {mount_id}")
        return self.mounts[mount_id]

    async def BlobCreate(self, request: pb.BlobCreateRequest, _: Container | None) -> pb.BlobCreateResponse:
        blob = new_id("bl")
        self.blobs[blob] = (request, self.state.home / blob)
        urls = pb.UploadUrlList(items=[f"{self.state.url}/blob/{blob}"])
        return pb.BlobCreateResponse(blob_ids=[blob], upload_urls=urls)

    async def BlobGet(self, request: pb.BlobGetRequest, _: Container | None) -> pb.BlobGetResponse:
        self.blob(request.blob_id)
        return pb.BlobGetResponse(download_url=f"{self.state.url}/blob/{request.blob_id}")

    async def MountBatchedCheckExistence(
        self, request: pb.MountBatchedCheckExistenceRequest, _: Container | None
    ) -> pb.MountBatchedCheckExistenceResponse:
        missing = [sha for sha in request.sha256_hex_hashes if not self.has(sha)]
        return pb.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    async def MountPutFile(self, request: pb.MountPutFileRequest, _: Container | None) -> pb.MountPutFileResponse:
        data = self.blob(request.data_blob_id) if request.data_blob_id else request.data
        if request.WhichOneof("data_oneof") and self.put(data) != request.sha256_hex:
            raise GRPCError(Status.INVALID_ARGUMENT, "the file's content has another SHA-256 than was said")
        return pb.MountPutFileResponse(exists=self.has(request.sha256_hex))

    async def MountGetOrCreate(
        self, request: pb.MountGetOrCreateRequest, _: Container | None
    ) -> pb.MountGetOrCreateResponse:
        if request.namespace == pb.DEPLOYMENT_NAMESPACE_GLOBAL:
            if request.deployment_name != client_mount_name():
                raise Unmodelled(f"MountGetOrCreate: the global mount {request.deployment_name!r}")
            return pb.MountGetOrCreateResponse(mount_id=self.client_mount, handle_metadata=pb.MountHandleMetadata())
        if request.deployment_name:
            raise Unmodelled("MountGetOrCreate: a mount with a name")
        if missing := [file.filename for file in request.files if not self.has(file.sha256_hex)]:
            raise GRPCError(Status.FAILED_PRECONDITION, f"files were not uploaded: {missing}")
        mount = new_id("mo")
        self.mounts[mount] = list(request.files)
        names = "".join(sorted(f"{file.filename}:{file.sha256_hex}:{file.mode}\n" for file in request.files))
        metadata = pb.MountHandleMetadata(content_checksum_sha256_hex=hashlib.sha256(names.encode()).hexdigest())
        return pb.MountGetOrCreateResponse(mount_id=mount, handle_metadata=metadata)

    async def _unknown(self, request: web.Request) -> web.Response:
        self.state.unmodelled.append(f"{request.method} {request.path}")
        return web.Response(status=404)

    async def _put_blob(self, request: web.Request) -> web.Response:
        wanted, path = self.blobs[request.match_info["id"]]
        data = await request.read()
        sha = base64.b64encode(hashlib.sha256(data).digest()).decode()
        if len(data) != wanted.content_length or sha != wanted.content_sha256_base64:
            return web.Response(status=400, text="the blob is another than was announced")
        path.write_bytes(data)
        return web.Response(headers={"ETag": f'"{hashlib.md5(data).hexdigest()}"'})

    async def _get_blob(self, request: web.Request) -> web.Response:
        return web.Response(body=self.blob(request.match_info["id"]))

    async def _put_block(self, request: web.Request) -> web.Response:
        data = await request.read()
        sha = self.put(data)
        self.state.moved[request.query_string, "sent"] += len(data)
        if sha != request.match_info["sha"]:
            return web.Response(status=400, text="the block has another SHA-256 than was said")
        return web.Response(body=f"kept {sha}".encode())

    async def _get_block(self, request: web.Request) -> web.Response:
        start, end = int(request.match_info["start"]), int(request.match_info["end"])
        with (self.store / request.match_info["sha"]).open("rb") as file:
            file.seek(start)
            self.state.moved[request.query_string, "fetched"] += end - start
            return web.Response(body=file.read(end - start))
