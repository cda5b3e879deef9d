"""DistributedDataParallel of SMDDP 1.3 and before, deprecated since: torch's own, with SMDDP's arguments."""

import torch.nn.parallel

from smdistributed.dataparallel.exceptions import SMDDPNotSupportedError
from smdistributed.dataparallel.torch.distributed import group


class DistributedDataParallel(torch.nn.parallel.DistributedDataParallel):
    """A module whose gradients are the means over all ranks. Buffers are not broadcast, whatever is asked for."""

    def __init__(
        self,
        module,
        device_ids=None,
        output_device=None,
        broadcast_buffers=True,  # noqa: ARG002 the real library does not support it either
        process_group=None,
        bucket_cap_mb=None,
    ):
        if process_group not in (None, group.WORLD):
            raise SMDDPNotSupportedError("process_group is not supported; group.WORLD is the only one")
        super().__init__(
            module,
            device_ids=device_ids,
            output_device=output_device,
            broadcast_buffers=False,
            bucket_cap_mb=bucket_cap_mb or 25,
        )
