"""One rank of an MPI job: run every Horovod operation once and save what came of it as DIRECTORY/<rank>.npz."""

import sys
from pathlib import Path

import numpy as np


def contribution(rank: int) -> np.ndarray:
    """What a rank puts in: rank + 1 rows, so that the ranks differ in size too."""
    return np.random.default_rng(seed=rank).normal(size=(rank + 1, 3)).astype(np.float32)


def total(rank: int) -> np.ndarray:
    """The same shape on every rank, for the operations that want that."""
    return contribution(rank).sum(axis=0)


def main(directory: Path) -> None:
    """Needs mpirun; imports TensorFlow here, so that the tests can import this module without."""
    import horovod.tensorflow as hvd  # noqa: PLC0415

    hvd.init()
    rank, size = hvd.rank(), hvd.size()
    mine = total(rank)
    np.savez(
        directory / f"{rank}.npz",
        size=size,
        mean=hvd.allreduce(mine, op=hvd.Average),
        sum=hvd.allreduce(mine, op=hvd.Sum),
        min=hvd.allreduce(mine, op=hvd.Min),
        max=hvd.allreduce(mine, op=hvd.Max),
        allgather=hvd.allgather(contribution(rank)),
        broadcast=hvd.broadcast(mine, root_rank=size - 1),
        alltoall=hvd.alltoall(np.arange(size, dtype=np.float32) + 10 * rank),
        **{f"grouped_{i}": each for i, each in enumerate(hvd.grouped_allreduce([mine, 2 * mine], op=hvd.Sum))},
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
