"""What a function refers to by id: environments, secrets (by name, values kept here) and images (recorded, not built)."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from platform import python_version

from google.protobuf.message import Message
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.modal_servicer.files import Files
from tests.modal_servicer.packages import seen
from tests.modal_servicer.state import Container, State, Unmodelled, new_id, not_found

BUILDER = "2025.06"  # the newest image builder that the pinned client knows


@dataclass
class Secret:
    """A secret: its values never leave the servicer but for the environment of a container that declares it."""

    id: str
    name: str
    environment: str
    values: dict[str, str] = field(repr=False)

    def metadata(self) -> pb.SecretMetadata:
        """What a client may know of it: its keys."""
        return pb.SecretMetadata(name=self.name, environment_name=self.environment, keys=sorted(self.values))


@dataclass
class Image:
    """A layer as it was declared. Simulated: its commands are recorded and checked, none is run."""

    id: str
    definition: pb.Image
    bases: list[Image]

    @property
    def commands(self) -> list[str]:
        """The Dockerfile commands from the lowest layer up."""
        return [line for base in self.bases for line in base.commands] + list(self.definition.dockerfile_commands)

    def layers(self) -> list[Image]:
        """This layer and all below it, the lowest first."""
        return [layer for base in self.bases for layer in base.layers()] + [self]


class Objects:
    """Environments, secrets and images."""

    def __init__(self, state: State, files: Files) -> None:
        self.state, self.files = state, files
        self.secrets: dict[str, Secret] = {}
        self.images: dict[str, Image] = {}
        self._made: dict[bytes, str] = {}

    def secret(self, secret_id: str) -> Secret:
        """The secret of that id."""
        if secret_id not in self.secrets:
            raise not_found(f"Secret {secret_id}")
        return self.secrets[secret_id]

    def image(self, image_id: str) -> Image:
        """The image of that id."""
        if image_id not in self.images:
            raise not_found(f"Image {image_id}")
        return self.images[image_id]

    def image_environment(self, image_id: str) -> tuple[dict[str, str], str]:
        """The variables and the working directory that an image's ENV and WORKDIR commands set."""
        values: dict[str, str] = {}
        directory = "/root"
        for line in self.image(image_id).commands:
            word, _, rest = line.strip().partition(" ")
            if word.upper() == "ENV":
                values.update(part.split("=", 1) for part in shlex.split(rest) if "=" in part)
            elif word.upper() == "WORKDIR":
                directory = shlex.split(rest)[0]
        return values, directory

    async def ClientHello(self, _request: Message, _: Container | None) -> pb.ClientHelloResponse:
        return pb.ClientHelloResponse(image_builder_version=BUILDER)

    async def WorkspaceNameLookup(self, _request: Message, _: Container | None) -> pb.WorkspaceNameLookupResponse:
        return pb.WorkspaceNameLookupResponse(workspace_name="loopback", username="tester")

    async def EnvironmentGetOrCreate(
        self, request: pb.EnvironmentGetOrCreateRequest, _: Container | None
    ) -> pb.EnvironmentGetOrCreateResponse:
        if request.object_creation_type == pb.OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
            self.state.environments.setdefault(request.deployment_name, new_id("en"))
        name = self.state.environment(request.deployment_name)
        settings = pb.EnvironmentSettings(image_builder_version=BUILDER)
        metadata = pb.EnvironmentMetadata(name=name, settings=settings)
        return pb.EnvironmentGetOrCreateResponse(environment_id=self.state.environments[name], metadata=metadata)

    async def SecretGetOrCreate(
        self, request: pb.SecretGetOrCreateRequest, _: Container | None
    ) -> pb.SecretGetOrCreateResponse:
        found = self._named(request) if request.deployment_name else None
        make = request.object_creation_type
        if make == pb.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS and found:
            raise GRPCError(Status.ALREADY_EXISTS, f"Secret '{request.deployment_name}' already exists")
        if make == pb.OBJECT_CREATION_TYPE_UNSPECIFIED and not found:
            raise not_found(f"Secret '{request.deployment_name}'")
        if found is None or make == pb.OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS:
            environment = self.state.environment(request.environment_name)
            secret_id = found.id if found else new_id("st")
            found = Secret(secret_id, request.deployment_name, environment, dict(request.env_dict))
            self.secrets[found.id] = found
        if missing := sorted(set(request.required_keys) - set(found.values)):
            raise GRPCError(Status.NOT_FOUND, f"Secret '{found.name}' lacks the keys {', '.join(missing)}")
        return pb.SecretGetOrCreateResponse(secret_id=found.id, metadata=found.metadata())

    def _named(self, request: pb.SecretGetOrCreateRequest) -> Secret | None:
        where = self.state.environment(request.environment_name)
        named = (one for one in self.secrets.values() if one.name == request.deployment_name)
        return next((one for one in named if one.environment == where), None)

    async def SecretGetInfo(self, request: pb.SecretGetInfoRequest, _: Container | None) -> pb.SecretGetInfoResponse:
        return pb.SecretGetInfoResponse(metadata=self.secret(request.secret_id).metadata())

    async def SecretList(self, request: pb.SecretListRequest, _: Container | None) -> pb.SecretListResponse:
        where = self.state.environment(request.environment_name)
        named = [one for one in self.secrets.values() if one.name and one.environment == where]
        items = [
            pb.SecretListItem(label=one.name, secret_id=one.id, environment_name=where, metadata=one.metadata())
            for one in named
        ]
        return pb.SecretListResponse(items=items, environment_name=where)

    async def SecretDelete(self, request: pb.SecretDeleteRequest, _: Container | None) -> Message:
        del self.secrets[self.secret(request.secret_id).id]
        return pb.google_dot_protobuf_dot_empty__pb2.Empty()

    async def ImageGetOrCreate(
        self, request: pb.ImageGetOrCreateRequest, _: Container | None
    ) -> pb.ImageGetOrCreateResponse:
        self.state.app(request.app_id)
        if request.builder_version != BUILDER:
            raise Unmodelled(f"ImageGetOrCreate: the image builder {request.builder_version}")
        definition = request.image
        bases = [self.image(base.image_id) for base in definition.base_images]
        for secret in definition.secret_ids:
            self.secret(secret)
        self._check_copies(definition)
        key = definition.SerializeToString(deterministic=True)
        if key in self._made and not (request.force_build or request.ignore_cache):
            success = pb.GenericResult(status=pb.GenericResult.GENERIC_STATUS_SUCCESS)
            return pb.ImageGetOrCreateResponse(image_id=self._made[key], result=success, metadata=self._metadata())
        image = Image(new_id("im"), definition, bases)
        try:
            await asyncio.to_thread(seen, tuple(image.commands), BUILDER)
        except ValueError as fault:
            failure = pb.GenericResult(status=pb.GenericResult.GENERIC_STATUS_FAILURE, exception=str(fault))
            return pb.ImageGetOrCreateResponse(image_id=image.id, result=failure)
        self.images[image.id] = image
        self._made[key] = image.id
        return pb.ImageGetOrCreateResponse(image_id=image.id)

    def _check_copies(self, definition: pb.Image) -> None:
        """A build would fail on a COPY of what neither the context mount nor the context files have."""
        offered = [f"/{file.filename.lstrip('/')}" for file in definition.context_files]
        if definition.context_mount_id:
            offered += [file.filename for file in self.files.mount(definition.context_mount_id)]
        for line in definition.dockerfile_commands:
            word, _, rest = line.strip().partition(" ")
            if word.upper() != "COPY":
                continue
            parts = shlex.split(rest)
            if any(part.startswith("--from=") for part in parts):
                continue
            for source in [part for part in parts[:-1] if not part.startswith("--")]:
                wanted = "/" + source.removeprefix("./").strip("/")
                if source != "." and not any(
                    name == wanted or name.startswith(wanted + "/") or fnmatch(name, wanted) for name in offered
                ):
                    raise GRPCError(Status.INVALID_ARGUMENT, f"COPY {source}: the build context has no such file")

    def _metadata(self) -> pb.ImageMetadata:
        return pb.ImageMetadata(python_version_info=python_version(), image_builder_version=BUILDER)

    async def ImageJoinStreaming(
        self, request: pb.ImageJoinStreamingRequest, _: Container | None
    ) -> AsyncIterator[pb.ImageJoinStreamingResponse]:
        self.image(request.image_id)
        success = pb.GenericResult(status=pb.GenericResult.GENERIC_STATUS_SUCCESS)
        yield pb.ImageJoinStreamingResponse(result=success, metadata=self._metadata(), entry_id="1-0", eof=True)
