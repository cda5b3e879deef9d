"""Which GPUs each host gets: real ones by id, none shared; virtual ones where the machine has none. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from training_job.errors import Fault, JobRefused, MachineCannot
from training_job.instance_types import instance_type

# The toolkits count the lines of `nvidia-smi --list-gpus` that begin with "GPU " (sagemaker-training environment.py).
_STUB = """#!/bin/sh
# Homeport's virtual GPUs: nvidia-smi's list and nothing else. No device is behind it.
case "${{1:---list-gpus}}" in
    -L | --list-gpus)
        i=0
        while [ "$i" -lt {count} ]; do
            echo "GPU $i: Homeport virtual GPU (UUID: GPU-virtual-$i)"
            i=$((i + 1))
        done ;;
    *)
        echo "nvidia-smi: these GPUs are virtual (Homeport); only --list-gpus is answered" >&2
        exit 9 ;;
esac
"""
STUB_PATH = "/usr/bin/nvidia-smi"
"""Where the NVIDIA container runtime puts the real one."""
_NONE_HELD: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class GPUs:
    """One host's share: real device ids, or a number of virtual ones."""

    ids: tuple[str, ...] = ()
    virtual: int = 0


class NotEnoughGPUs(MachineCannot):
    """The job's hosts want more GPUs than this machine has, or than other jobs leave of them."""

    def __init__(self, wanted: int, kind: str, found: int, held: Mapping[str, str]) -> None:
        jobs = "; ".join(
            f"{job} holds {','.join(gpu for gpu in held if held[gpu] == job)}" for job in dict.fromkeys(held.values())
        )
        waiting = "wait for a job or stop it (homeport-local stop NAME), " if held else ""
        super().__init__(
            f"the job wants {wanted} GPUs ({kind}) and this machine has {found}{f', of which {jobs}' if held else ''}. "
            f"Ways out: {waiting}fewer with --gpus 0,1,… or --instance-count, CPU ranks with --virtual-gpus N, another "
            "--instance-type, or the cloud."
        )


def share(
    types: Sequence[str],
    found: Sequence[str],
    cores: int,
    *,
    asked: Sequence[str] | None,
    virtual: int | None,
    held: Mapping[str, str] = _NONE_HELD,
) -> tuple[GPUs, ...]:
    """What the host of each instance type gets, in order. `found` are the machine's ids, `held` those of them that
    other jobs have, by id with the job; `asked` is --gpus."""
    wanted = [_count(name, known=asked is not None or virtual is not None) for name in types]
    with_gpus = sum(1 for count in wanted if count)
    if virtual is not None or (asked is None and not found):
        most = cores if virtual is None else virtual
        return tuple(GPUs(virtual=min(most, count)) for count in wanted)
    if asked is not None:
        if len(set(asked)) < len(asked):
            raise JobRefused("--gpus", [Fault("", f"{','.join(asked)} names a GPU twice; each goes to one host")])
        missing = sorted(set(asked) - set(found))
        if missing or len(asked) < with_gpus:
            raise NotEnoughGPUs(max(len(asked), with_gpus), _kind(types), len(found), held)
        if with_gpus and len(asked) % with_gpus:
            raise JobRefused("--gpus", [Fault("", f"{len(asked)} GPUs cannot be shared evenly by {with_gpus} hosts")])
        wanted = [len(asked) // with_gpus if count else 0 for count in wanted]
    pool = [gpu for gpu in (found if asked is None else asked) if gpu not in held]
    if sum(wanted) > len(pool):
        raise NotEnoughGPUs(sum(wanted), _kind(types), len(found), held)
    shares = []
    for count in wanted:
        shares.append(GPUs(ids=tuple(pool[:count])))
        del pool[:count]
    return tuple(shares)


def stub(count: int) -> bytes:
    """An nvidia-smi that lists `count` GPUs."""
    return _STUB.format(count=count).encode()


def _count(name: str, *, known: bool) -> int:
    count = instance_type(name).gpus
    if count is None and not known:
        raise JobRefused(
            name, [Fault("", "how many GPUs it has is not in Homeport's table: give --gpus or --virtual-gpus N")]
        )
    # Where the table knows nothing, what was asked for decides; no instance has more than 16.
    return 16 if count is None else count


def _kind(types: Sequence[str]) -> str:
    names = list(dict.fromkeys(types))
    return ", ".join(f"{types.count(name)} x {name}" for name in names)
