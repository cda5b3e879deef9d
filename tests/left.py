"""Stand-ins for what hosts leave: members of a tar, and a host that has ended with them."""

import copy
import io
import tarfile
from collections.abc import Generator, Sequence
from pathlib import Path

CHUNK = 1000  # small, so that members and chunks end at different places


class Entry(tarfile.TarInfo):
    """A member with its content."""

    content = b""


class Left:
    """A host that has ended, as far as collect sees it: what is under /opt/ml/model and /opt/ml/output."""

    def __init__(self, model: Sequence[Entry] = (), output: Sequence[Entry] = (), chunk: int = CHUNK) -> None:
        self._left = {"/opt/ml/model": model, "/opt/ml/output": output}
        self._chunk = chunk
        self.opened: list[str] = []
        self.closed: list[str] = []

    def fetch(self, path: str) -> Generator[bytes, None, None]:
        # Docker holds a container while its archive is read.
        assert self.opened == self.closed
        self.opened.append(path)
        packed = self.tar(path)
        try:
            yield from (packed[start : start + self._chunk] for start in range(0, len(packed), self._chunk))
        finally:
            self.closed.append(path)

    def tar(self, path: str) -> bytes:
        return tar(Path(path).name, self._left[path])


def tar(folder: str, entries: Sequence[Entry]) -> bytes:
    """A directory as an engine packs it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(directory(folder))
        for entry in map(copy.copy, entries):
            entry.name = f"{folder}/{entry.name}"
            if entry.islnk():
                entry.linkname = f"{folder}/{entry.linkname}"
            archive.addfile(entry, io.BytesIO(entry.content) if entry.isreg() else None)
    return stream.getvalue()


def file(name: str, content: bytes = b"", mode: int = 0o644) -> Entry:
    entry = Entry(name)
    entry.content, entry.size, entry.mode = content, len(content), mode
    entry.uid = entry.gid = 1000
    entry.uname, entry.mtime = "somebody", 1_700_000_000
    return entry


def directory(name: str) -> Entry:
    entry = Entry(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    return entry


def hard_link(name: str, to: str) -> Entry:
    return of_type(tarfile.LNKTYPE, name, to)


def soft_link(name: str, to: str) -> Entry:
    return of_type(tarfile.SYMTYPE, name, to)


def of_type(kind: bytes, name: str, to: str = "") -> Entry:
    entry = Entry(name)
    entry.type, entry.linkname = kind, to
    return entry
