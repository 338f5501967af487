"""Volumes, version 2: what one container writes is its own until it commits; others see it after a reload, or when they start."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_servicer.files import BLOCK, Files
from tests.modal_servicer.state import Container, State, Unmodelled, new_id, not_found
from tests.modal_servicer.trees import Entry, Marks, Tree, marked, merged, open_files, read, write

V2 = pb.VOLUME_FS_VERSION_V2


@dataclass
class Volume:
    """A volume: the tree of its last commit."""

    id: str
    name: str
    environment: str
    version: int
    tree: Tree = field(default_factory=dict)
    commits: int = 0
    created_at: float = field(default_factory=time.time)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def metadata(self) -> pb.VolumeMetadata:
        """What a handle knows of it."""
        made = pb.CreationInfo(created_at=self.created_at, created_by="tester")
        return pb.VolumeMetadata(version=self.version, name=self.name, creation_info=made)


@dataclass
class Copy:
    """A container's own copy: where it lies, which tree it was made from, and how the files looked then."""

    path: Path
    base: Tree
    marks: Marks
    read_only: bool


class Volumes:
    """Volumes and the copies of running containers; `committed` is told of each commit."""

    def __init__(self, state: State, files: Files, committed: Callable[[Container], None]) -> None:
        self.state, self.files, self._committed = state, files, committed
        self.volumes: dict[str, Volume] = {}
        self.copies: dict[tuple[str, str], Copy] = {}

    def volume(self, volume_id: str) -> Volume:
        """The volume of that id."""
        if volume_id not in self.volumes:
            raise not_found(f"Volume {volume_id}")
        return self.volumes[volume_id]

    def named(self, name: str, environment: str = "") -> Volume | None:
        """The volume of that name."""
        where = self.state.environment(environment)
        every = list(self.volumes.values())  # in one step: tests ask from a thread of their own
        return next((one for one in every if (one.name, one.environment) == (name, where)), None)

    def check_out(self, volume_id: str, container: Container, path: Path, read_only: bool) -> None:
        """Make a container's copy: the last commit, as it is now."""
        tree = self.volume(volume_id).tree
        path.mkdir(parents=True)
        write(path, tree, {}, self.files.store.joinpath)
        self.copies[container.id, volume_id] = Copy(path, tree, marked(path), read_only)

    def drop(self, container: Container) -> None:
        """The container is gone, and what it did not commit."""
        for key in [key for key in self.copies if key[0] == container.id]:
            del self.copies[key]

    def _copy(self, volume_id: str, container: Container | None) -> tuple[Volume, Container, Copy]:
        volume = self.volume(volume_id)
        if container is None or (container.id, volume_id) not in self.copies:
            raise not_found(f"Volume {volume_id} mounted in the caller's container")
        return volume, container, self.copies[container.id, volume_id]

    def _keep(self, path: Path) -> str:
        return self.files.put(path.read_bytes())

    async def commit(self, volume_id: str, by: Container | None) -> None:
        """Make what a container wrote what everybody finds, in one step."""
        volume, _, copy = self._copy(volume_id, by)
        async with volume.lock:
            await asyncio.to_thread(self._commit, volume, copy)
        self.state.pulse.beat()

    async def VolumeCommit(self, request: pb.VolumeCommitRequest, by: Container | None) -> pb.VolumeCommitResponse:
        await self.commit(request.volume_id, by)
        assert by is not None
        self._committed(by)
        return pb.VolumeCommitResponse(skip_reload=not self.state.settings.get("reload_after_commit", False))

    def _commit(self, volume: Volume, copy: Copy) -> None:
        seen = marked(copy.path)  # before it is read: what is written meanwhile is then found by the next commit
        mine = read(copy.path, copy.base, copy.marks, self._keep)
        if mine != copy.base:
            if copy.read_only:
                raise GRPCError(Status.FAILED_PRECONDITION, "the volume is mounted read-only")
            volume.tree = merged(volume.tree, copy.base, mine)
            volume.commits += 1
        copy.base, copy.marks = mine, seen

    async def VolumeReload(self, request: pb.VolumeReloadRequest, by: Container | None) -> Message:
        volume, container, copy = self._copy(request.volume_id, by)
        async with volume.lock:
            assert container.process is not None
            held = await asyncio.to_thread(open_files, copy.path, namespace(container))
            if held:
                raise GRPCError(
                    Status.FAILED_PRECONDITION, f"there are open files preventing the operation: {', '.join(held)}"
                )
            await asyncio.to_thread(self._reload, volume, copy)
        return Empty()

    def _reload(self, volume: Volume, copy: Copy) -> None:
        self._commit(volume, copy)  # the client's documentation: uncommitted changes may implicitly be committed
        write(copy.path, volume.tree, copy.base, self.files.store.joinpath)
        copy.base, copy.marks = volume.tree, marked(copy.path)

    async def VolumeGetOrCreate(
        self, request: pb.VolumeGetOrCreateRequest, _: Container | None
    ) -> pb.VolumeGetOrCreateResponse:
        name, make = request.deployment_name, request.object_creation_type
        found = self.named(name, request.environment_name) if name else None
        if found and make == pb.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
            raise GRPCError(Status.ALREADY_EXISTS, f"Volume '{name}' already exists")
        if found is None and make == pb.OBJECT_CREATION_TYPE_UNSPECIFIED:
            raise not_found(f"Volume '{name}' in the environment '{request.environment_name or 'main'}'")
        if found is None:
            if request.version != V2:
                raise Unmodelled("VolumeGetOrCreate: a volume that is not made with version=2")
            if make == pb.OBJECT_CREATION_TYPE_EPHEMERAL:
                raise Unmodelled("VolumeGetOrCreate: an ephemeral volume")
            found = Volume(new_id("vo"), name, self.state.environment(request.environment_name), V2)
            self.volumes[found.id] = found
        return pb.VolumeGetOrCreateResponse(volume_id=found.id, version=found.version, metadata=found.metadata())

    async def VolumeGetById(self, request: pb.VolumeGetByIdRequest, _: Container | None) -> pb.VolumeGetByIdResponse:
        volume = self.volume(request.volume_id)
        return pb.VolumeGetByIdResponse(volume_id=volume.id, metadata=volume.metadata())

    async def VolumeList(self, request: pb.VolumeListRequest, _: Container | None) -> pb.VolumeListResponse:
        where = self.state.environment(request.environment_name)
        items = [
            pb.VolumeListItem(label=one.name, volume_id=one.id, created_at=one.created_at, metadata=one.metadata())
            for one in self.volumes.values()
            if one.environment == where
        ]
        return pb.VolumeListResponse(items=items, environment_name=where)

    async def VolumeDelete(self, request: pb.VolumeDeleteRequest, _: Container | None) -> Message:
        del self.volumes[self.volume(request.volume_id).id]
        return Empty()

    async def VolumePutFiles2(
        self, request: pb.VolumePutFiles2Request, by: Container | None
    ) -> pb.VolumePutFiles2Response:
        volume = self.volume(request.volume_id)
        names = [relative(file.path) for file in request.files]
        kept = names if request.disallow_overwrite_existing_files else []
        refuse(kept, volume)
        missing = []
        for number, file in enumerate(request.files):
            for index, block in enumerate(file.blocks):
                sha = block.contents_sha256.hex()
                if not self.files.has(sha):
                    url = f"{self.state.url}/block/{sha}?{whose(by)}"
                    missing.append(
                        pb.VolumePutFiles2Response.MissingBlock(file_index=number, block_index=index, put_url=url)
                    )
                elif block.HasField("put_response") and block.put_response != f"kept {sha}".encode():
                    raise GRPCError(Status.INVALID_ARGUMENT, "the answer to a block's upload was not handed on")
        if missing:
            return pb.VolumePutFiles2Response(missing_blocks=missing)
        async with volume.lock:
            refuse(kept, volume)  # of two at once, the second
            mine = dict(volume.tree)
            for name, file in zip(names, request.files, strict=True):
                mine[name] = await asyncio.to_thread(self._assembled, file)
            volume.tree = merged(volume.tree, volume.tree, mine)
            volume.commits += 1
        return pb.VolumePutFiles2Response()

    def _assembled(self, file: pb.VolumePutFiles2Request.File) -> Entry:
        """A file of its blocks, whose trailing zeros were left out."""
        scratch = self.state.home / new_id("up")
        digest = hashlib.sha256()
        with scratch.open("wb") as out:
            for index, block in enumerate(file.blocks):
                data = (self.files.store / block.contents_sha256.hex()).read_bytes()
                data = data.ljust(min(BLOCK, file.size - index * BLOCK), b"\0")
                digest.update(data)
                out.write(data)
        os.replace(scratch, self.files.store / digest.hexdigest())
        return Entry("file", digest.hexdigest(), file.size, file.mode or 0o644, int(time.time()))

    async def VolumeListFiles2(
        self, request: pb.VolumeListFiles2Request, _: Container | None
    ) -> AsyncIterator[pb.VolumeListFiles2Response]:
        tree, top = self.volume(request.volume_id).tree, relative(request.path)
        if top and top not in tree:
            raise not_found(f"{request.path}: no such file or directory")
        kinds = {"file": pb.FileEntry.FILE, "directory": pb.FileEntry.DIRECTORY, "symlink": pb.FileEntry.SYMLINK}
        entries = []
        for name, entry in sorted(tree.items()):
            inside = name.startswith(top + "/") if top else True
            near = "/" not in (name[len(top) + 1 :] if top else name)
            if (inside and (request.recursive or near)) or (name == top and entry.kind != "directory"):
                entries.append(pb.FileEntry(path=name, type=kinds[entry.kind], size=entry.size, mtime=entry.mtime))
        if entries:
            yield pb.VolumeListFiles2Response(entries=entries)

    async def VolumeGetFile2(
        self, request: pb.VolumeGetFile2Request, by: Container | None
    ) -> pb.VolumeGetFile2Response:
        entry = self.volume(request.volume_id).tree.get(relative(request.path))
        if entry is None or entry.kind != "file":
            raise not_found(f"{request.path}: no such file")
        if request.start or request.len:
            raise Unmodelled("VolumeGetFile2: a part of a file")
        urls = [
            f"{self.state.url}/block/{entry.content}/{start}/{min(start + BLOCK, entry.size)}?{whose(by)}"
            for start in range(0, entry.size, BLOCK)
        ]
        return pb.VolumeGetFile2Response(get_urls=urls, size=entry.size, start=0, len=entry.size)

    async def VolumeRemoveFile2(self, request: pb.VolumeRemoveFile2Request, _: Container | None) -> Message:
        volume, name = self.volume(request.volume_id), relative(request.path)
        async with volume.lock:  # a commit that is on would bring it back
            if name not in volume.tree:
                raise not_found(f"{request.path}: no such file or directory")
            if volume.tree[name].kind == "directory" and not request.recursive:
                raise GRPCError(Status.INVALID_ARGUMENT, f"{request.path}: is a directory")
            left = [one for one in volume.tree if one != name and not one.startswith(name + "/")]
            volume.tree = {one: volume.tree[one] for one in left}
            volume.commits += 1
        return Empty()

    async def VolumeCopyFiles2(self, request: pb.VolumeCopyFiles2Request, _: Container | None) -> Message:
        volume, target = self.volume(request.volume_id), relative(request.dst_path)
        async with volume.lock:
            tree = dict(volume.tree)
            into = len(request.src_paths) > 1 or (target in tree and tree[target].kind == "directory")
            for source in map(relative, request.src_paths):
                if source not in tree:
                    raise not_found(f"{source}: no such file or directory")
                if tree[source].kind == "directory" and not request.recursive:
                    raise GRPCError(Status.INVALID_ARGUMENT, f"{source}: is a directory")
                to = f"{target}/{PurePosixPath(source).name}".lstrip("/") if into else target
                for name, entry in list(tree.items()):
                    if name == source or name.startswith(source + "/"):
                        tree[to + name[len(source) :]] = entry
            volume.tree = merged(volume.tree, volume.tree, tree)
            volume.commits += 1
        return Empty()


def relative(path: str) -> str:
    """A path inside a volume without its leading slash; one that climbs out is refused."""
    parts = PurePosixPath("/", path).parts[1:]
    if ".." in parts:
        raise GRPCError(Status.INVALID_ARGUMENT, f"{path}: outside the volume")
    return "/".join(parts)


def refuse(names: list[str], volume: Volume) -> None:
    """Raise where one of the names is taken."""
    if taken := [name for name in names if name in volume.tree]:
        raise GRPCError(Status.ALREADY_EXISTS, f"{taken[0]}: already exists")


def whose(by: Container | None) -> str:
    """Who moves a block, in the words that it is counted by."""
    return "container" if by else "client"


def namespace(container: Container) -> str:
    """The PID namespace of a container's processes."""
    assert container.process is not None
    return os.readlink(f"/proc/{container.process.pid}/ns/pid_for_children")
