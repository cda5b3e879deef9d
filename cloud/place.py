"""What homeport.toml and the environment say of the cloud: region, stack, what is named by hand, where runs go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, Field, ValidationError

from training_job.errors import Fault, JobRefused
from training_job.place_file import FILE, Cloud, Runs, Table, find, read, runs_of


class _Local(Runs):
    """The other place's table, of which only the runs are read."""

    model_config = ConfigDict(extra="ignore")


class _File(Table):
    cloud: Cloud = Field(default_factory=Cloud)
    local: _Local = Field(default_factory=_Local)


@dataclass(frozen=True)
class CloudPlace:
    """SageMaker as this project's homeport.toml names it. Its paths are absolute."""

    root: Path
    runs: Path
    region: str
    written: Cloud
    """[cloud] as it stands in the file."""
    source: str
    """What to call the file in a message, also where there is none yet."""


def read_cloud_place(start: Path, environ: Mapping[str, str], runs: Path | None = None) -> CloudPlace:
    """The place of HOMEPORT_FILE or the nearest homeport.toml at or above `start`; defaults where none is.

    HOMEPORT_REGION and HOMEPORT_RUNS win over the file, `runs` (a flag) over both. Raises JobRefused.
    """
    file = find(start, environ)
    content = read(file, _File) if file else _File()
    root = file.parent if file else start
    source = str(file or root / FILE)
    return CloudPlace(
        root=root,
        runs=runs_of(content.local, start=start, root=root, environ=environ, source=source, flag=runs),
        region=_region(environ.get("HOMEPORT_REGION"), content.cloud),
        written=content.cloud,
        source=source,
    )


def _region(asked: str | None, written: Cloud) -> str:
    try:
        return Cloud(region=asked).region if asked else written.region
    except ValidationError:
        raise JobRefused("HOMEPORT_REGION", [Fault("", f"{asked!r} is no region, such as us-west-2")]) from None
