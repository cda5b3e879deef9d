"""Objects by their keys: one by one where they are few, by listing a folder where it holds many of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable

from local_mode.fetching import each
from local_mode.object_store import NO_FILE, ObjectStore, S3Object, is_path

# A listing brings 1000 keys in one answer, wanted or not; nobody knows before how many lie in a folder.
_MANY = 1000


def looked_up(store: ObjectStore, keys: Iterable[str]) -> dict[str, S3Object]:
    """The objects that there are, by key."""
    by_folder: dict[str, set[str]] = defaultdict(set)
    for key in filter(is_path, keys):
        folder, slash, _ = key.rpartition("/")
        by_folder[folder + slash].add(key)
    found: list[S3Object | None] = []
    single: list[str] = []
    for folder, wanted in by_folder.items():
        if folder and len(wanted) >= _MANY:
            found += [item for item in store.listed(folder) if item.key in wanted]
        else:
            single += wanted
    each(lambda key, _: found.append(store.find(key)), single, lambda: False)
    return {item.key: item for item in found if item}


def not_found(store: ObjectStore, keys: Iterable[str], found: Container[str]) -> list[str]:
    """Each of the keys that was not found, and why."""
    return [
        f"{store.uri(key)}, {'which is not there' if is_path(key) else f'and {NO_FILE}'}"
        for key in keys
        if key not in found
    ]
