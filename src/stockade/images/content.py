"""Blobs on disk, each named by its digest, and what is still being written.

    content/blobs/sha256/HEX    whole, of the digest that it is named by
    content/ingest/…            on its way in or out; swept at start
    content/images/…            copies of the store's records, for repair

A blob gets its name by a rename. It is synced soon after, not before: until then the store says that it is in doubt,
and a blob that is in doubt after another boot is digested anew before anybody trusts it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator

from stockade.errors import Damaged, RuntimeFailed
from stockade.host import processes
from stockade.host.paths import Paths
from stockade.store import Store

from .values import Unsettled

_CHUNK = 1 << 20


class Content:
    """The blobs of one installation. Everything but `settle` and `verify` takes microseconds."""

    def __init__(self, paths: Paths, store: Store) -> None:
        self.top = f"{paths.data}/content"
        self.blobs = f"{self.top}/blobs/sha256"
        self.ingest = f"{self.top}/ingest"
        self.copies = f"{self.top}/images"
        for path in (self.blobs, self.ingest, self.copies):
            os.makedirs(path, 0o700, exist_ok=True)
        self._unsettled = store.table("unsettled", Unsettled)
        self._held: Counter[str] = Counter()
        self._boot = processes.boot_id()

    def path(self, digest: str) -> str:
        """Where a blob lies, or would."""
        return f"{self.blobs}/{digest.removeprefix('sha256:')}"

    def has(self, digest: str) -> bool:
        """Whether it is here."""
        return os.path.exists(self.path(digest))

    def read(self, digest: str, limit: int) -> bytes:
        """A small blob; at most so many bytes and one.

        Raises:
            Damaged: it is not here.
        """
        try:
            with open(self.path(digest), "rb") as file:
                return file.read(limit + 1)
        except OSError as error:
            raise Damaged(f"the blob {digest} cannot be read: {error.strerror}") from error

    def room(self) -> str:
        """A new name in the place for what is on its way."""
        return f"{self.ingest}/{os.urandom(8).hex()}"

    def adopt(self, digest: str, path: str) -> None:
        """Give a file that was digested its name; it is the caller's no more. The caller holds the digest."""
        if self.has(digest):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        self.doubt(digest)
        try:
            os.chmod(path, 0o600)
            os.rename(path, self.path(digest))
        except FileNotFoundError as error:
            # The second time that this is tried: it is there, or it is lost.
            if not self.has(digest):
                raise RuntimeFailed(f"{path} of blob {digest} is gone") from error

    def put(self, data: bytes) -> str:
        """Keep a small document; its digest. The caller holds it."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if not self.has(digest):
            path = self.room()
            try:
                with open(path, "xb") as file:
                    file.write(data)
                self.adopt(digest, path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                raise
        return digest

    def present(self) -> frozenset[str]:
        """Every blob that is here."""
        return frozenset(f"sha256:{name}" for name in os.listdir(self.blobs))

    @contextlib.contextmanager
    def hold(self, names: Iterable[str]) -> Iterator[None]:
        """Keep a collection away from blobs, chains or directories that are being worked on."""
        names = list(names)
        self._held.update(names)
        try:
            yield
        finally:
            self._held.subtract(names)
            for name in names:
                if self._held[name] <= 0:
                    del self._held[name]

    @property
    def held(self) -> Iterable[str]:
        """What is being worked on."""
        return self._held.keys()

    def discard(self, digests: Iterable[str]) -> list[str]:
        """Take blobs out of sight, at once; the paths that are left to be unlinked."""
        gone = []
        for digest in digests:
            path = self.room()
            with contextlib.suppress(FileNotFoundError):
                os.rename(self.path(digest), path)
                gone.append(path)
            # On a full disk the store may refuse: to be in doubt about what is not there does no harm.
            with contextlib.suppress(Damaged):
                self._unsettled.delete(digest)
        return gone

    # What a power cut may have lost ----------------------------------------------------------------------------

    def doubt(self, name: str) -> None:
        """Write down that something is not synced yet, before it can be found."""
        self._unsettled.put(name, Unsettled(self._boot))

    def trust(self, name: str) -> None:
        """It is synced, or gone."""
        self._unsettled.delete(name)

    async def settle(self) -> None:
        """Sync what was written; takes as long as the disk does."""
        names = [name for name, _ in self._unsettled.items()]
        if names:
            await asyncio.to_thread(_sync, self.top)
            for name in names:
                self._unsettled.delete(name)

    def doubtful(self) -> list[str]:
        """What another boot left unsynced."""
        return [name for name, one in self._unsettled.items() if one.boot != self._boot]

    @property
    def any_unsettled(self) -> bool:
        """Whether something is not synced yet."""
        return bool(self._unsettled.items())

    async def verify(self, digest: str) -> bool:
        """Whether a blob is what its name says; takes as long as it is large."""
        try:
            return await asyncio.to_thread(_digest_of, self.path(digest)) == digest
        except OSError:
            return False


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Say what the disk refuses as a condition of ours."""
    try:
        yield
    except OSError as error:
        raise RuntimeFailed(f"{error.filename or 'the disk'}: {error.strerror}") from error


def unlink(paths: Iterable[str]) -> int:
    """Remove files and trees; how many bytes of disk that frees. Takes as long as the disk does."""
    freed = 0
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                freed += os.lstat(path).st_blocks * 512
                os.unlink(path)
    return freed


def _digest_of(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return f"sha256:{digest.hexdigest()}"


def _sync(directory: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if libc.syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), directory)
    finally:
        os.close(descriptor)
