"""An emulation of AWS's SMDDP: its API over Horovod (tensorflow) and torch.distributed (torch).

What AWS documents is here, under the same names, with the same defaults and refusals; the transport is another one, and
so are its speed and its faults. https://sagemaker.readthedocs.io/en/stable/api/training/smd_data_parallel.html
"""

import sys


def announce(rank, over):
    """Say once in a job's log that this is not AWS's library."""
    if rank == 0:
        # In one write: mpirun labels each.
        sys.stderr.write(f"smdistributed.dataparallel: Homeport's emulation over {over}, not AWS's library\n")
        sys.stderr.flush()
