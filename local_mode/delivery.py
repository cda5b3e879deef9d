"""What a job left, put where its OutputDataConfig says: `<S3OutputPath>/<job name>/output/model.tar.gz` and so on."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from local_mode.object_store import ObjectStore
from local_mode.outputs import Artifacts, OutputFile
from training_job.errors import HomeportError, MachineCannot

_UPLOADS = 8
"""Side by side. A large object goes in parts, which are side by side already."""


class NotDelivered(MachineCannot):
    """An artifact is not where the job wants it; ends as what kept it from there does."""

    def __init__(self, path: Path, uri: str, cause: Exception) -> None:
        super().__init__(
            f"{path}: not delivered to {uri}: {cause}\nIt is still whole in the run's folder, and so is everything "
            "else the job left: copy it from there once that is put right."
        )
        if isinstance(cause, HomeportError):
            self.exit_code = cause.exit_code


def deliver(artifacts: Artifacts, store: ObjectStore, prefix: str) -> list[str]:
    """Upload what the job left to below `prefix`; the URIs, in the order of `artifacts.files`.

    Raises NotDelivered for the first that cannot be had there; those that have not begun then never do.
    UNVERIFIED: model.tar.gz is written even if nothing is in it, output.tar.gz only if something is.
    """
    keys = [f"{prefix}/{file.key}" if prefix else file.key for file in artifacts.files]
    failed = threading.Event()

    def one(file: OutputFile, key: str) -> None:
        if failed.is_set():
            return
        try:
            store.write(key, file.path)
        except (HomeportError, OSError) as error:
            failed.set()
            raise NotDelivered(file.path, store.uri(key), error) from None

    with ThreadPoolExecutor(max_workers=_UPLOADS) as pool:
        uploads = [pool.submit(one, *file) for file in zip(artifacts.files, keys, strict=True)]
        try:
            for upload in uploads:
                upload.result()
        except BaseException:
            failed.set()
            raise
    return [store.uri(key) for key in keys]
