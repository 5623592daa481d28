"""Containers and images of the daemon, for callers that await; `client` has the same for those that block.

An object holds the daemon's answer of when it was looked at (`attributes`, Docker's inspect); `reload` looks again.
"""

from __future__ import annotations

import errno
import json
import os
from typing import NamedTuple
from urllib.parse import quote, urlencode

from stockade.errors import ProtocolBroken
from stockade.host import paths
from stockade.runtime import exits
from stockade.sdk import http, ondemand
from stockade.sdk.credentials import Login, registry_of
from stockade.sdk.credentials import find as find_login
from stockade.sdk.values import Completed
from stockade.sdk.wanted import Wanted, resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from typing import Any

    from stockade.model import Limits
    from stockade.runtime.io import Io

    Json = Any

API = "/v1.47"
OWN = "/stockade/v1"
_PIECE = 1 << 16


class Waited(NamedTuple):
    """The end of a container."""

    status: int
    error: str = ""


class AsyncClient:
    """The daemon, which is started if it does not run. Root only, for now."""

    def __init__(self, io: Io | None = None) -> None:
        if io is None:
            from stockade.runtime.aio import World

            io = World()
        self.io = io
        self._socket = ""

    # Containers

    async def create(self, wanted: Wanted) -> AsyncContainer:
        """Make a container; nothing of it runs yet.

        Raises:
            NotFound: there is no such image.
            Conflict: the name is taken.
        """
        query = _query(name=wanted.name, platform=wanted.platform)
        said = await self.call("POST", f"{OWN}/containers/create{query}", wanted.body())
        container = await self.container(said["Id"])
        container.warnings = tuple(said.get("Warnings") or ())
        return container

    async def container(self, reference: str) -> AsyncContainer:
        """A container by its name, its id or the unique beginning of that.

        Raises:
            NotFound: there is none.
        """
        return AsyncContainer(self, await self.call("GET", f"/containers/{quote(reference, safe='')}/json"))

    async def containers(self, *, all: bool = False, filters: Mapping[str, Sequence[str]] | None = None) -> list[Json]:
        """Summaries as Docker's ContainerList has them; without `all` of those that run."""
        found = await self.call("GET", f"/containers/json{_query(all=all, filters=filters)}")
        return _list(found)

    async def prune_containers(self, filters: Mapping[str, Sequence[str]] | None = None) -> Json:
        """Remove every container that does not run; Docker's ContainersDeleted and SpaceReclaimed."""
        return await self.call("POST", f"/containers/prune{_query(filters=filters)}")

    # Images

    async def image(self, reference: str) -> AsyncImage:
        """An image by name, digest or id.

        Raises:
            NotFound: there is none.
        """
        return AsyncImage(self, await self.call("GET", f"/images/{quote(reference, safe='/:@')}/json"))

    async def images(self, *, all: bool = False, filters: Mapping[str, Sequence[str]] | None = None) -> list[Json]:
        """Summaries as Docker's ImageList has them."""
        return _list(await self.call("GET", f"/images/json{_query(all=all, filters=filters)}"))

    async def load(self, descriptor: int, *, platform: str = "") -> AsyncGenerator[Json, None]:
        """Take in the images of an archive (OCI layout or docker-archive); gives what the daemon says of its progress.

        Args:
            platform: of several images under one name the one to take, as `linux/arm64`; empty: this machine's.

        Raises:
            BadValue: the archive is none, or broken.
            NotFound: it has an image for another platform only.
        """
        path = await self.socket()
        async with await http.connect(self.io, path) as exchange:
            await exchange.send(
                http.head(
                    "POST",
                    _versioned(f"/images/load{_query(quiet='0', platform=_platform(platform))}"),
                    {"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"},
                )
            )
            await exchange.send_file(descriptor)
            await exchange.answer(timeout=None)
            async for one in exchange.lines():
                yield _progress(one)

    async def save(self, references: Sequence[str], descriptor: int, *, platform: str = "") -> None:
        """Write images as one archive, which is a docker-archive and an OCI layout, to a descriptor.

        Args:
            platform: that the images must be for, as `linux/arm64`; empty: any.
        """
        query = _query(names=list(references), platform=_platform(platform))
        await self._download(f"/images/get{query}", descriptor)

    async def import_tree(
        self, source: str, reference: str = "", *, changes: Sequence[str] = (), message: str = "", platform: str = ""
    ) -> AsyncImage:
        """Make an image of a directory, or of an archive of one, of this machine."""
        path = os.path.join(os.getcwd(), source)
        query = _query(path=path, reference=reference, changes=list(changes), message=message, platform=platform)
        said = await self.call("POST", f"{OWN}/images/import{query}", timeout=None)
        return await self.image(said["Id"])

    async def import_from(
        self,
        source: str | int,
        reference: str = "",
        *,
        changes: Sequence[str] = (),
        message: str = "",
        platform: str = "",
    ) -> AsyncGenerator[Json, None]:
        """Make an image of an archive of a root file system; gives what the daemon says, last of all the image's id.

        Args:
            source: an address, which the daemon fetches; or a descriptor.
        """
        query = _query(
            fromSrc="-" if isinstance(source, int) else source,
            repo=reference,
            changes=list(changes),
            message=message,
            platform=platform,
        )
        headers = {"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"}
        head = http.head("POST", _versioned(f"/images/create{query}"), headers if isinstance(source, int) else {})
        path = await self.socket()
        async with await http.connect(self.io, path) as exchange:
            await exchange.send(head)
            if isinstance(source, int):
                await exchange.send_file(source)
            await exchange.answer(timeout=None)
            async for one in exchange.lines():
                yield _progress(one)

    async def remove_image(self, reference: str, *, force: bool = False, prune: bool = True) -> list[Json]:
        """Untag an image, and remove it with its last name; what was untagged and deleted."""
        target = f"/images/{quote(reference, safe='/:@')}{_query(force=force, noprune=not prune)}"
        return _list(await self.call("DELETE", target, timeout=None))

    # Registries

    async def pull(
        self, reference: str, *, platform: str = "", all_tags: bool = False, login: Login | None = None
    ) -> AsyncGenerator[Json, None]:
        """Bring an image here; gives what the daemon says of its progress.

        Args:
            platform: as `linux/arm64`; empty: this machine's.
            all_tags: every tag of the repository.
            login: who asks; None: what the caller's config.json knows.

        Raises:
            NotFound: there is none, or not for this user.
            Unavailable: the registry does not answer.
        """
        tag = "" if all_tags or _names_which(reference) else "latest"
        target = f"/images/create{_query(fromImage=reference, tag=tag, platform=platform)}"
        async with await self._as_user(target, registry_of(reference), login) as exchange:
            async for one in exchange.lines():
                yield _progress(one)

    async def push(
        self, reference: str, *, all_tags: bool = False, platform: str = "", login: Login | None = None
    ) -> AsyncGenerator[Json, None]:
        """Send an image to the registry of its name; gives what the daemon says of its progress.

        Args:
            platform: the one of an index to send, as `linux/arm64`; empty: all that is here.

        Raises:
            NotFound: there is no such image here.
            Unauthorized, Refused: this user may not.
        """
        head, colon, tag = reference.rpartition(":")
        name, tag = (head, tag) if colon and "/" not in tag else (reference, "" if all_tags else "latest")
        target = f"/images/{quote(name, safe='/:')}/push{_query(tag=tag, platform=_platform(platform))}"
        async with await self._as_user(target, registry_of(reference), login) as exchange:
            async for one in exchange.lines():
                yield _progress(one)

    async def login(self, registry: str, username: str, password: str) -> Login:
        """Try a name and a password; what is to be kept of them (`sdk.credentials.store`).

        Raises:
            Unauthorized: the registry does not believe them.
        """
        tried = Login(username, password)
        said = await self.call("POST", "/auth", tried.body(registry), timeout=None)
        token = str((said or {}).get("IdentityToken") or "")
        return Login(username, "", token) if token else tried

    async def search(
        self, term: str, *, limit: int = 25, filters: Mapping[str, Sequence[str]] | None = None
    ) -> list[Json]:
        """Ask a registry's search; Docker's lines.

        Raises:
            NotFound: the registry has none.
        """
        return _list(await self.call("GET", f"/images/search{_query(term=term, limit=limit, filters=filters)}",
                                     timeout=None))  # fmt: skip

    async def _as_user(self, target: str, registry: str, login: Login | None) -> http.Exchange:
        """A request that says who asks; its answer grows for as long as it takes."""
        known = login if login is not None else await self.io.work(find_login, registry)
        exchange = await http.request(
            self.io, await self.socket(), "POST", _versioned(target), headers=known.header(registry)
        )
        try:
            return await exchange.answer(None)
        except BaseException:
            exchange.close()
            raise

    async def prune_images(self, filters: Mapping[str, Sequence[str]] | None = None) -> Json:
        """Remove images that nothing uses; Docker's ImagesDeleted and SpaceReclaimed."""
        return await self.call("POST", f"/images/prune{_query(filters=filters)}", timeout=None)

    # Networks

    async def networks(self, filters: Mapping[str, Sequence[str]] | None = None) -> list[Json]:
        """Docker's NetworkList."""
        return _list(await self.call("GET", f"/networks{_query(filters=filters)}"))

    async def network(self, reference: str, *, verbose: bool = False) -> Json:
        """Docker's NetworkInspect.

        Raises:
            NotFound: there is none of that name or id.
        """
        return await self.call("GET", f"/networks/{quote(reference, safe='')}{_query(verbose=verbose or None)}")

    async def create_network(self, name: str, settings: Json = None) -> Json:
        """Make a network; `settings` are the other members of Docker's NetworkCreate. Its id and a warning.

        Raises:
            Conflict: its name or subnet is taken.
        """
        return await self.call("POST", "/networks/create", {"Name": name, **(settings or {})})

    async def remove_network(self, reference: str) -> None:
        """Remove a network that no running container has."""
        async with await self.open("DELETE", f"/networks/{quote(reference, safe='')}"):
            pass

    async def prune_networks(self, filters: Mapping[str, Sequence[str]] | None = None) -> Json:
        """Remove the networks that no running container has; Docker's NetworksDeleted."""
        return await self.call("POST", f"/networks/prune{_query(filters=filters)}")

    async def connect(self, network: str, container: str, settings: Json = None) -> None:
        """Give a container an end of a network; `settings` are Docker's EndpointSettings."""
        body = {"Container": container, "EndpointConfig": settings or {}}
        async with await self.open("POST", f"/networks/{quote(network, safe='')}/connect", body):
            pass

    async def disconnect(self, network: str, container: str, *, force: bool = False) -> None:
        """Take a container's end of a network away."""
        body = {"Container": container, "Force": force}
        async with await self.open("POST", f"/networks/{quote(network, safe='')}/disconnect", body):
            pass

    async def blocks(self) -> list[Json]:
        """The host's own rules that keep packets from networks, each with a sentence and the command that opens it."""
        return _list(await self.call("GET", f"{OWN}/networks/blocks"))

    # Volumes

    async def volumes(self, *, filters: Mapping[str, Sequence[str]] | None = None) -> list[Json]:
        """Docker's Volumes, by name."""
        found = await self.call("GET", f"/volumes{_query(filters=filters)}")
        return _list(found["Volumes"])

    async def volume(self, name: str) -> Json:
        """Docker's inspect of a volume.

        Raises:
            NotFound: there is none.
        """
        return await self.call("GET", f"/volumes/{quote(name, safe='')}")

    async def create_volume(
        self,
        name: str = "",
        *,
        driver: str = "",
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Json:
        """The volume of that name, made if there is none; without a name a new one. Docker's inspect of it.

        Args:
            options: `type`, `o` and `device` of mount(8), for one that is no directory of ours.
        """
        body = {"Name": name, "Driver": driver, "Labels": dict(labels or {}), "DriverOpts": dict(options or {})}
        return await self.call("POST", "/volumes/create", body)

    async def remove_volume(self, name: str, *, force: bool = False) -> None:
        """Remove a volume with all that is in it.

        Raises:
            Conflict: a container uses it.
        """
        await self.call("DELETE", f"/volumes/{quote(name, safe='')}{_query(force=force)}", timeout=None)

    async def prune_volumes(self, filters: Mapping[str, Sequence[str]] | None = None) -> Json:
        """Remove the volumes that no container uses and nobody named; Docker's VolumesDeleted and SpaceReclaimed."""
        return await self.call("POST", f"/volumes/prune{_query(filters=filters)}", timeout=None)

    # The daemon

    async def version(self) -> Json:
        """Docker's SystemVersion."""
        return await self.call("GET", "/version")

    async def info(self) -> Json:
        """Docker's SystemInfo."""
        return await self.call("GET", "/info")

    async def disk_usage(self) -> Json:
        """Docker's SystemDataUsage."""
        return await self.call("GET", "/system/df", timeout=None)

    async def events(
        self, *, since: str = "", until: str = "", filters: Mapping[str, Sequence[str]] | None = None
    ) -> AsyncGenerator[Json, None]:
        """What happens, as it happens; with `until` it ends."""
        async with await self.open("GET", f"/events{_query(since=since, until=until, filters=filters)}") as said:
            async for one in said.lines():
                yield one

    async def call(self, method: str, target: str, body: Json = None, timeout: float | None = http.PATIENCE) -> Json:
        """One request to its end; the value of its answer."""
        async with await self.open(method, target, body, timeout) as exchange:
            return await exchange.json()

    async def open(
        self, method: str, target: str, body: Json = None, timeout: float | None = http.PATIENCE
    ) -> http.Exchange:
        """One request whose answer's head is there."""
        exchange = await http.request(self.io, await self.socket(), method, _versioned(target), body)
        try:
            return await exchange.answer(timeout)
        except BaseException:
            exchange.close()
            raise

    async def socket(self) -> str:
        """The path of the daemon's socket; the daemon is started if need be."""
        if not self._socket:
            self._socket = await ondemand.ensure(self.io, paths.find(os.environ))
        return self._socket

    async def _download(self, target: str, descriptor: int) -> None:
        async with await self.open("GET", target, timeout=None) as exchange:
            # Such an answer lasts until the connection ends, so that no byte of it needs to be looked at.
            source, early = exchange.take()
            try:
                await self.io.work(_pour, early, source, descriptor)
            finally:
                os.close(source)


class AsyncContainer:
    """One container."""

    def __init__(self, client: AsyncClient, attributes: Json) -> None:
        self.client = client
        self.attributes: Json = attributes
        self.warnings: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return str(self.attributes["Id"])

    @property
    def name(self) -> str:
        """Without Docker's slash."""
        return str(self.attributes["Name"]).removeprefix("/")

    @property
    def status(self) -> str:
        """`created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`, when it was looked at."""
        return str(self.attributes["State"]["Status"])

    async def reload(self) -> None:
        """Look again."""
        self.attributes = await self._call("GET", "json")

    async def start(self) -> None:
        """Let it run; nothing happens if it does.

        Raises:
            CommandNotFound, CommandNotExecutable: its program is not there, or is none.
        """
        await self._call("POST", "start")

    async def stop(self, timeout: int | None = None, signal: str = "") -> None:
        """Ask it to end, and kill it after `timeout` seconds; nothing happens if it does not run."""
        await self._call("POST", f"stop{_query(t=timeout, signal=signal)}", timeout=None)

    async def restart(self, timeout: int | None = None, signal: str = "") -> None:
        """Stop it, if it runs, and start it."""
        await self._call("POST", f"restart{_query(t=timeout, signal=signal)}", timeout=None)

    async def kill(self, signal: str = "SIGKILL") -> None:
        """Send its first process a signal."""
        await self._call("POST", f"kill{_query(signal=signal)}")

    async def pause(self) -> None:
        """Freeze it."""
        await self._call("POST", "pause")

    async def unpause(self) -> None:
        """Let it go on."""
        await self._call("POST", "unpause")

    async def rename(self, name: str) -> None:
        """Give it another name."""
        await self._call("POST", f"rename{_query(name=name)}")

    async def update(self, limits: Limits, restart: str = "") -> tuple[str, ...]:
        """Change its limits and its restart policy while it lives; the daemon's warnings."""
        name, _, times = restart.partition(":")
        policy = {"RestartPolicy": {"Name": name, "MaximumRetryCount": int(times or 0)}} if name else {}
        said = await self._call("POST", "update", resources(limits) | policy)
        return tuple(said.get("Warnings") or ())

    async def wait(self, condition: str = "not-running") -> Waited:
        """Wait until it is `not-running`, until its `next-exit`, or until it is `removed`."""
        said = await self._call("POST", f"wait{_query(condition=condition)}", timeout=None)
        return Waited(int(said["StatusCode"]), str((said.get("Error") or {}).get("Message", "")))

    async def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it and what it wrote; with `force` also if it runs."""
        target = f"/containers/{self.id}{_query(force=force, v=volumes)}"
        await self.client.call("DELETE", target, timeout=None)

    async def prepare(self) -> str:
        """Make everything ready for `start`; the path of the socket that takes its streams (runtime.attach)."""
        said = await self.client.call("POST", f"{OWN}/containers/{self.id}/prepare")
        return str(said["AttachSocket"])

    async def exec_create(
        self,
        args: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        workdir: str = "",
        user: str = "",
        tty: bool = False,
        stdin: bool = False,
        attached: bool = True,
        privileged: bool = False,
        detach_keys: str = "",
    ) -> str:
        """Prepare another command in it; the id of the exec."""
        body = {
            "Cmd": list(args),
            "Env": [f"{name}={value}" for name, value in (env or {}).items()],
            "WorkingDir": workdir,
            "User": user,
            "Tty": tty,
            "AttachStdin": stdin,
            "AttachStdout": attached,
            "AttachStderr": attached,
            "Privileged": privileged,
        }
        if detach_keys:
            body["DetachKeys"] = detach_keys
        return str((await self._call("POST", "exec", body))["Id"])

    async def exec(
        self, args: Sequence[str], *, env: Mapping[str, str] | None = None, workdir: str = "", user: str = ""
    ) -> Completed:
        """Run another command in it to its end, and take what it prints."""
        identity = await self.exec_create(args, env=env, workdir=workdir, user=user)
        streams = (bytearray(), bytearray())
        body = {"Detach": False, "Tty": False}
        async with await self.client.open("POST", f"/exec/{identity}/start", body) as exchange:
            async for number, piece in _frames(exchange):
                streams[number - 1].extend(piece)
        end = await self.client.call("GET", f"/exec/{identity}/json")
        status = int(end["ExitCode"])
        return Completed(tuple(args), status, bytes(streams[0]), bytes(streams[1]), exits.from_status(status))

    async def logs(
        self,
        *,
        follow: bool = False,
        tail: str = "all",
        since: str = "",
        until: str = "",
        timestamps: bool = False,
        stdout: bool = True,
        stderr: bool = True,
    ) -> AsyncGenerator[bytes, None]:
        """What it printed, in pieces."""
        query = _query(
            follow=follow, tail=tail, since=since, until=until, timestamps=timestamps, stdout=stdout, stderr=stderr
        )
        async with await self.client.open("GET", f"/containers/{self.id}/logs{query}", timeout=None) as exchange:
            if self.attributes["Config"]["Tty"]:
                while piece := await exchange.some():
                    yield piece
            else:
                async for _, piece in _frames(exchange):
                    yield piece

    async def stats(self) -> Json:
        """What it uses now, as Docker's ContainerStats; one sample."""
        return await self._call("GET", "stats?stream=false&one-shot=true")

    async def top(self, ps_args: str = "") -> Json:
        """Its processes: Titles and Processes."""
        return await self._call("GET", f"top{_query(ps_args=ps_args)}")

    async def changes(self) -> list[Json]:
        """What it changed in its file system: Path and Kind (0 modified, 1 added, 2 deleted)."""
        return _list(await self._call("GET", "changes", timeout=None))

    async def commit(
        self,
        reference: str = "",
        *,
        message: str = "",
        author: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
    ) -> AsyncImage:
        """Make an image of it as it is now."""
        repo, colon, tag = reference.rpartition(":")
        if not colon or "/" in tag:
            repo, tag = reference, ""
        query = _query(
            container=self.id, repo=repo, tag=tag, comment=message, author=author, changes=list(changes), pause=pause
        )
        said = await self.client.call("POST", f"/commit{query}", {}, timeout=None)
        return await self.client.image(said["Id"])

    async def export(self, descriptor: int) -> None:
        """Write its file system as a tar archive to a descriptor."""
        await self.client._download(f"/containers/{self.id}/export", descriptor)

    async def stat(self, path: str) -> Json:
        """Docker's ContainerPathStat of a path in it: name, size, mode (Go's bits), mtime, linkTarget."""
        import base64
        import json

        async with await self.client.open("HEAD", f"/containers/{self.id}/archive{_query(path=path)}") as exchange:
            return json.loads(base64.b64decode(exchange.headers["x-docker-container-path-stat"]))

    async def get_archive(self, path: str, descriptor: int) -> None:
        """Write a file or directory of it as a tar archive to a descriptor."""
        await self.client._download(f"/containers/{self.id}/archive{_query(path=path)}", descriptor)

    async def put_archive(self, path: str, descriptor: int, *, copy_owners: bool = False) -> None:
        """Unpack a tar archive from a descriptor into a directory of it."""
        query = _query(path=path, copyUIDGID=copy_owners)
        async with await http.connect(self.client.io, await self.client.socket()) as exchange:
            target = f"/containers/{self.id}/archive{query}"
            fields = {"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"}
            await exchange.send(http.head("PUT", _versioned(target), fields))
            await exchange.send_file(descriptor)
            await exchange.answer(timeout=None)

    async def _call(self, method: str, verb: str, body: Json = None, timeout: float | None = http.PATIENCE) -> Json:
        return await self.client.call(method, f"/containers/{self.id}/{verb}", body, timeout)


class AsyncImage:
    """One image."""

    def __init__(self, client: AsyncClient, attributes: Json) -> None:
        self.client = client
        self.attributes: Json = attributes

    @property
    def id(self) -> str:
        """`sha256:…` of its configuration."""
        return str(self.attributes["Id"])

    @property
    def tags(self) -> tuple[str, ...]:
        """Its names."""
        return tuple(self.attributes.get("RepoTags") or ())

    async def tag(self, reference: str) -> None:
        """Give it one more name."""
        repo, colon, tag = reference.rpartition(":")
        if not colon or "/" in tag:
            repo, tag = reference, "latest"
        await self.client.call("POST", f"/images/{self.id}/tag{_query(repo=repo, tag=tag)}")

    async def history(self, *, platform: str = "") -> list[Json]:
        """How it was made, newest first."""
        query = _query(platform=_platform(platform))
        return _list(await self.client.call("GET", f"/images/{self.id}/history{query}"))

    async def remove(self, *, force: bool = False) -> list[Json]:
        """Remove it with all its names if `force`, else if it has one at most."""
        return await self.client.remove_image(self.id, force=force)


async def _frames(exchange: http.Exchange) -> AsyncGenerator[tuple[int, bytes], None]:
    """The pieces of a stream with Docker's headers: 1 or 2, and bytes."""
    buffer = bytearray()
    while piece := await exchange.some():
        buffer += piece
        while len(buffer) >= 8:
            size = int.from_bytes(buffer[4:8], "big")
            if buffer[0] not in (1, 2):
                raise ProtocolBroken(f"the daemon's stream has a frame of kind {buffer[0]}")
            if len(buffer) < 8 + size:
                break
            yield buffer[0], bytes(buffer[8 : 8 + size])
            del buffer[: 8 + size]


def _versioned(target: str) -> str:
    """Docker's paths carry the version of the API that is meant; ours have their own."""
    return target if target.startswith("/stockade/") else f"{API}{target}"


def _query(**fields: Any) -> str:
    """A query of what is said: false, empty and None are left away, lists repeat, mappings are JSON."""
    pairs: list[tuple[str, str]] = []
    for name, value in fields.items():
        if isinstance(value, dict):
            pairs += [(name, json.dumps(value))] if value else []
        elif isinstance(value, list):
            pairs += [(name, str(one)) for one in value]
        elif isinstance(value, bool):
            pairs.append((name, "1" if value else "0"))
        elif value not in (None, ""):
            pairs.append((name, str(value)))
    return f"?{urlencode(pairs)}" if pairs else ""


def _progress(said: Json) -> Json:
    if "errorDetail" in said or "error" in said:
        detail = said.get("errorDetail") or {"message": said.get("error")}
        raise http.condition(500, json.dumps(detail).encode())
    return said


def _platform(text: str) -> str:
    """`linux/arm64/v8` as Docker's API takes it where an image is here."""
    if not text:
        return ""
    names = ("os", "architecture", "variant")
    return json.dumps(dict(zip(names, text.split("/", 2), strict=False)))


def _names_which(reference: str) -> bool:
    """Whether a name says which image of its repository is meant."""
    return "@" in reference or ":" in reference.rpartition("/")[2]


def _list(found: Json) -> list[Json]:
    return list(found or ())


def _pour(early: bytes, source: int, target: int) -> None:
    """Move all that a connection has to give to a descriptor; the kernel does it (splice(2))."""
    _write(target, early)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        while count := os.splice(source, writer, _PIECE):
            while count:
                count -= _move(reader, target, count)
    finally:
        os.close(reader)
        os.close(writer)


def _move(pipe: int, target: int, count: int) -> int:
    try:
        return os.splice(pipe, target, count)
    except OSError as error:
        # Files opened for appending, and terminals, take no splice.
        if error.errno != errno.EINVAL:
            raise
        return _write(target, os.read(pipe, count))


def _write(target: int, data: bytes) -> int:
    """Write all of it; how much that was."""
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
    return len(data)
