"""A directory that plays a bucket that is far away: what is read from it has to be fetched."""

from collections.abc import Callable, Generator
from pathlib import Path

from local_mode.object_store import FolderStore, S3Object


class RemoteFolder(FolderStore):
    """Not to be linked. Each read is noted in `reads`, a file that processes share; `during` is called in it."""

    def __init__(self, root: Path, reads: Path, during: Callable[[S3Object], None] = lambda _: None) -> None:
        super().__init__("far", root)
        self._reads = reads
        self._during = during

    def file(self, found: S3Object) -> Path | None:  # noqa: ARG002 - the port's
        return None

    def read(self, found: S3Object) -> Generator[bytes, None, None]:
        with self._reads.open("a") as noted:
            noted.write(f"{found.key}\n")
        for piece in super().read(found):
            half = len(piece) // 2
            yield piece[:half]
            self._during(found)
            yield piece[half:]
