"""What is below a directory of a host, out of the tar that its engine answers with, as it comes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import PurePosixPath

from local_mode.engine import Host
from local_mode.safe_tar import tarfile
from training_job.errors import MachineCannot

PIECE = 1 << 18
"""Bytes of content to be read at a time."""

Found = tuple[tarfile.TarInfo, tarfile.TarFile]
"""A member, and the tar to take its content from before the next member is asked for."""


class Escapes(MachineCannot):
    """A member would lead out of the folder that it belongs in."""

    def __init__(self, host: str, member: str, why: str) -> None:
        super().__init__(
            f"{host}: left {member!r}: {why}. Nothing was written outside of the run's folder. Leave it out of "
            "/opt/ml/model and /opt/ml/output/data, then run the job again."
        )


@contextmanager
def files_of(name: str, host: Host, path: str) -> Iterator[Iterator[Found]]:
    """Everything below a directory, named from there, owned by root as everything in the cloud's archives.

    Raises MachineCannot for a tar that is cut short, Escapes for a name that is not below the directory.
    """
    try:
        with closing(host.fetch(path)) as pieces:
            stream = _Stream(pieces)
            with tarfile.TarFile(fileobj=stream, copybufsize=PIECE) as source:
                yield _members(name, source, stream, PurePosixPath(path).name)
    except tarfile.TarError as error:
        raise MachineCannot(
            f"{name}: what is in its {path} came incomplete from the engine ({error}). Run the job again; if that "
            "does not help, restart the engine."
        ) from None


def _members(host: str, source: tarfile.TarFile, stream: _Stream, folder: str) -> Iterator[Found]:
    while (member := source.next()) is not None:
        # A TarFile keeps all that it has read, which for many files is more memory than their content takes.
        source.members.clear()  # type: ignore[attr-defined,unused-ignore]
        member.name = _below(folder, member.name, host)
        if not member.name:
            continue
        if member.islnk():
            member.linkname = _below(folder, member.linkname, host)
        if member.isreg():
            member.type = tarfile.REGTYPE
        else:
            member.size = 0
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mtime = int(member.mtime)
        member.pax_headers = {}
        yield member, source
    if not stream.at_zeros:
        # Which tarfile takes for the end.
        raise tarfile.ReadError("it has no end")


def _below(folder: str, name: str, host: str) -> str:
    """A name from inside the folder that was fetched."""
    first, *rest = PurePosixPath(name).parts or (folder,)
    if first != folder or ".." in rest:
        raise Escapes(host, name, f"it is not below {folder}/")
    return "/".join(rest)


class _Stream(io.BufferedIOBase):
    """Pieces as a file that is only read forwards; none is copied more than once."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")
        self._at = 0
        self._last = b""

    @property
    def at_zeros(self) -> bool:
        """Whether what was read last is a block of zeros: a tar's end."""
        return self._last == bytes(tarfile.BLOCKSIZE)

    def tell(self) -> int:
        return self._at

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        """Skip to a position further on."""
        assert whence == io.SEEK_SET
        assert position >= self._at
        for _ in self._taken(position - self._at):
            pass
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """As many bytes as asked for, fewer at the end."""
        self._last = b"".join(self._taken(size or 0))
        return self._last

    def _taken(self, size: int) -> Iterator[memoryview]:
        while size > 0:
            if not self._piece:
                self._piece = memoryview(next(self._pieces, b""))
                if not self._piece:
                    return
            taken, self._piece = self._piece[:size], self._piece[size:]
            size -= len(taken)
            self._at += len(taken)
            yield taken
