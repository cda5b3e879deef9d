"""A bucket with a data set and a directory linked to it, for tests."""

import os
from collections.abc import Callable, Generator
from pathlib import Path

from local_mode.buckets import Folder
from local_mode.inputs.linked import Link
from local_mode.linked_directory import LinkedDirectory
from local_mode.links import DataRepository, Survey
from local_mode.object_store import FolderStore, S3Object
from training_job.s3_uri import S3Uri

DATA_SET = {"train/a/0": "zero", "train/a/1": "one", "train/2": "two", "other": "else"}
Before = Callable[[S3Object], None]


class CountingStore(FolderStore):
    """A bucket that knows what was read of it; `before` happens ahead of each read."""

    def __init__(self, root: Path, before: Before | None = None) -> None:
        super().__init__("my-bucket", root)
        self.reads: list[str] = []
        self.before = before

    def read(self, found: S3Object) -> Generator[bytes, None, None]:
        self.reads.append(found.key.removeprefix("datasets/"))
        if self.before:
            self.before(found)
        yield from super().read(found)


class Told:
    """Who is told of a fetch."""

    def __init__(self) -> None:
        self.asked = (0, 0)
        self.done = 0

    def fetching(self, objects: int, size: int) -> None:
        self.asked = (objects, size)

    def fetched(self, size: int) -> None:
        self.done += size


class Linked:
    """A bucket with a data set, and a directory linked to it."""

    def __init__(self, root: Path, objects: dict[str, str] | None = None) -> None:
        self.bucket = root / "bucket"
        self.directory = root / "fsx"
        self.link = Link(
            S3Uri.parse("s3://my-bucket/datasets"), Folder("my-bucket", self.bucket), self.directory, root / "link.db"
        )
        self.bucket.mkdir()
        for key, content in (DATA_SET if objects is None else objects).items():
            self.put(key, content)
        self.store = CountingStore(self.bucket)
        self.repository = DataRepository(self.link, self.store)

    def put(self, key: str, content: str) -> None:
        path = self.bucket / "datasets" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def hydrate(self, subpath: str = "", *, again: bool = False) -> tuple[Survey, int]:
        found = self.repository.look(subpath, again=again)
        return found, self.repository.hydrate(found, Told(), lambda: False)

    def files(self) -> dict[str, str]:
        found = self.directory.rglob("*")
        return {str(path.relative_to(self.directory)): path.read_text() for path in found if path.is_file()}

    def mounted(self, subpath: str = "") -> LinkedDirectory:
        """The operations of a mount, as FUSE would call them."""
        found = self.repository.look(subpath)
        return LinkedDirectory(self.repository, found, lambda: (os.geteuid(), os.getegid(), 1), lambda: None)


def never() -> bool:
    return False
