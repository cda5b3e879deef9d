"""What a rank takes of the machine it runs on."""

import os

import torch


def own_share(local_rank=0, local_size=1):
    """One GPU for each rank of this host, or a fair part of its cores: rather than fight for them."""
    gpus = torch.cuda.device_count()
    if gpus:
        if local_rank >= gpus:
            raise ValueError(f"this host has {gpus} GPU(s) for its {local_size} ranks: each needs its own")
        torch.cuda.set_device(local_rank)
        return torch.device("cuda", local_rank)
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // local_size))
    return torch.device("cpu")
