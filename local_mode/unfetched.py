"""The objects of a mounted link that are no files yet, as a directory shows them. Paths begin at the mount."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable

from local_mode.inputs.listing import Entry


class Unfetched:
    """Paths and their entries, by folder too. A path that leaves does not come back."""

    def __init__(self, entries: Iterable[tuple[str, Entry]]) -> None:
        self._turn = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._names: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._count: Counter[str] = Counter()
        for path, entry in entries:
            self._entries[path] = entry
            folder, _, name = path.rpartition("/")
            self._names[folder][name] = None
            self._count.update(_folders(path))

    def get(self, path: str) -> Entry | None:
        """What the path is to become, if it is not a file yet."""
        return self._entries.get(path)

    def names(self, folder: str) -> list[str]:
        """The names in a folder."""
        with self._turn:
            return list(self._names.get(folder, ()))

    def folders(self) -> list[str]:
        """Every folder that holds one."""
        with self._turn:
            return list(self._count)

    def below(self, folder: str) -> bool:
        """Whether there is any in a folder, or in one of its folders."""
        return self._count[folder] > 0

    def remove(self, path: str) -> bool:
        """It is a file now, or nothing; whether it was one of these until now."""
        with self._turn:
            if self._entries.pop(path, None) is None:
                return False
            folder, _, name = path.rpartition("/")
            del self._names[folder][name]
            self._count.subtract(_folders(path))
            return True


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
