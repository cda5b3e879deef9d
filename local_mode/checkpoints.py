"""Checkpoints and their like: directories of the containers kept in step with S3 while the job runs.

As CheckpointConfig has it: files go up as they are, under one prefix for all hosts; what a job deletes is deleted
there; what others put there meanwhile is not fetched. How often SageMaker looks is not documented.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from time import monotonic
from types import TracebackType
from uuid import uuid4

from local_mode.directory_stream import StreamBroken, members
from local_mode.engine import Host, NoSuchDirectory
from local_mode.mirror import Count, Mirror, Synced, copied
from local_mode.object_store import ObjectStore, S3Object
from local_mode.part_files import spool, written
from local_mode.restoring import Restored
from training_job.errors import HomeportError, MachineCannot

EVERY = 5.0
"""Seconds between passes, where they are short."""

_REST = 4  # times as long as a pass took, at least, until the next: a fifth of the time at most goes into them
_LAST_PASSES = 5


class CannotSync(MachineCannot):
    """A prefix that the job's files cannot go to."""

    def __init__(self, uri: str, why: object) -> None:
        super().__init__(f"{uri}: what the job writes cannot be kept there: {why}")


class NotKept(MachineCannot):
    """Files that the job left did not become objects."""

    def __init__(self, uris: Sequence[str], why: object, rescued: str) -> None:
        more = f" and {len(uris) - 1} more" if len(uris) > 1 else ""
        super().__init__(f"{uris[0]}{more}: not kept as the job left it: {why}\n{rescued}")


def check_writable(store: ObjectStore, prefix: str, work: Path) -> None:
    """Write and delete an object below the prefix, and what killed runs left of theirs.

    Raises CannotSync; `work` is a directory to write to.
    """
    probes = f"{prefix.rstrip('/')}/homeport-may-write-".lstrip("/")
    key = f"{probes}{uuid4().hex[:8]}"
    left: list[S3Object] = []
    try:
        # Asked first, since writing to a bucket whose directory is not there would make it. Whoever may write need not
        # be one who may list.
        with suppress(MachineCannot):
            left = store.listed(probes)
        with spool(work) as folder:
            probe = folder / "probe"
            probe.write_bytes(b"may be deleted")
            store.write(key, probe)
        store.delete([key, *(found.key for found in left)])
    except (HomeportError, OSError) as error:
        raise CannotSync(store.uri(prefix), error) from None


@dataclass(frozen=True)
class Moment:
    """A moment: seconds since 1970, and of our steady clock."""

    clock: float
    steady: float


class Syncing:
    """Directories of a job's hosts, kept in step by a thread while the context is open, and exactly by `finish`.

    `work` is where contents wait to be uploaded, `rescue` where the directories go that cannot be. `told` hears once
    what a person should know, from the thread too.
    """

    def __init__(
        self,
        hosts: Mapping[str, Host],
        synced: Sequence[Synced],
        *,
        work: Path,
        rescue: Path,
        told: Callable[[str], None],
        restored: Sequence[Restored] = (),
        every: float = EVERY,
    ) -> None:
        self._rescue = rescue
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._pass_again_and_again, daemon=True)
        self._told = told
        self._said: set[str] = set()
        self._mirrors = [Mirror(one, hosts, work, self._say) for one in synced]
        for found in restored:
            mirror = next(mirror for mirror in self._mirrors if mirror.synced == found.synced)
            sizes = {entry.path: entry.object.size for entry in found.entries}
            mirror.began_with(found.digests, sizes, found.mtime)

    def __enter__(self) -> Syncing:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_thread()

    def hold(self) -> None:
        """Break off the pass under way and begin no other before `finish`: a signal to a host that is read waits."""
        self._over.set()

    def lost(self, synced: Synced, moment: Moment, most: float) -> float | None:
        """Seconds of work before `moment`, at most `most`, of which the store holds nothing; None where it got nothing.

        No pass follows: what the hosts left beyond that is gone with them.
        """
        self._end_thread()
        newest = next(mirror.newest for mirror in self._mirrors if mirror.synced == synced)
        if newest is None:
            return None
        # An engine's clock need not be ours, but no file was written after it was read.
        return min(max(moment.clock - newest.mtime, moment.steady - newest.read, 0.0), most)

    def finish(self) -> dict[str, Count]:
        """The last pass, of hosts that have ended; what was done in all, by directory.

        Raises NotKept, having copied every directory that a store does not hold to `rescue`.
        """
        self._end_thread()
        failed = [failure for mirror in self._mirrors if (failure := self._finish(mirror))]
        if failed:
            raise failed[0] if len(failed) == 1 else MachineCannot("\n".join(map(str, failed)))
        return {mirror.synced.path: mirror.count for mirror in self._mirrors}

    def _end_thread(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _pass_again_and_again(self) -> None:
        rest = self._every
        while not self._over.wait(rest):
            began = monotonic()
            for mirror in self._mirrors:
                try:
                    mirror.look(self._over.is_set)
                except (HomeportError, OSError) as error:
                    self._say(f"{mirror.synced.path} is not in step with S3 for now, and tried again: {error}")
            rest = max(self._every, _REST * (monotonic() - began))

    def _finish(self, mirror: Mirror) -> NotKept | None:
        why: object = "it changes still"
        for _ in range(_LAST_PASSES):
            try:
                if mirror.look_last():
                    return None
            except StreamBroken as error:
                why = error
            except (HomeportError, OSError) as error:
                why = error
                break
        return _rescued(mirror, why, self._rescue)

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._told(text)


def _rescued(mirror: Mirror, why: object, rescue: Path) -> NotKept:
    """Copy a directory of every host to `rescue`, since its store does not hold it."""
    synced = mirror.synced
    left: dict[str, set[bytes]] = {}
    try:
        for name, host in mirror.hosts.items():
            folder = rescue / name / PurePosixPath(synced.path).name
            for path, digest in _copied_out(host, synced, folder).items():
                left.setdefault(path, set()).add(digest)
    except (HomeportError, OSError) as error:
        return NotKept([synced.store.uri(synced.folder)], why, f"It could not be copied to {rescue} either: {error}")
    lost = [synced.store.uri(synced.key(path)) for path in sorted(left) if mirror.kept.get(path) not in left[path]]
    return NotKept(
        lost or [synced.store.uri(synced.folder)],
        why,
        f"Nothing is lost: all that the hosts left in {synced.path} is in {rescue}.",
    )


def _copied_out(host: Host, synced: Synced, folder: Path) -> dict[str, bytes]:
    """Write a host's files below `folder`; their digests. Nothing there is a link, so no path leads out of it."""
    digests: dict[str, bytes] = {}
    try:
        with closing(members(host, synced.path, lambda: False)) as found:
            for member in found:
                if member.unfit or member.path.partition("/")[0] in synced.skipped:
                    continue
                target = folder / member.path
                if member.linked is not None:
                    if member.linked in digests:
                        target.parent.mkdir(parents=True, exist_ok=True)
                        os.link(folder / member.linked, target)
                        digests[member.path] = digests[member.linked]
                    continue
                with written(target, needed=member.size) as copy:
                    digests[member.path] = copied(member.pieces(), copy)
    except NoSuchDirectory:
        pass
    return digests
