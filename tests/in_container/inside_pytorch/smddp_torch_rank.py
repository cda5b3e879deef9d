"""One rank of SMDDP's emulation over torch: leaves what came of it as JSON.

python smddp_torch_rank.py backend|module DIRECTORY
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def contribution(rank: int) -> torch.Tensor:
    """What a rank puts in."""
    return torch.tensor([1.0 + rank, 10.0 * rank])


def refusal(call: Callable[[], object]) -> str:
    """How the library refuses a call."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "not refused"


def trained(wrap: Callable[[torch.nn.Module], torch.nn.Module], rank: int) -> list[float]:
    """Weights after a step on data that are this rank's own, from weights that are too."""
    torch.manual_seed(rank)
    model = wrap(torch.nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(contribution(rank)).sum().backward()
    optimizer.step()
    return [float(value) for parameter in model.parameters() for value in parameter.flatten()]


def backend() -> dict[str, Any]:
    """As programs use SMDDP since 1.4."""
    import smdistributed.dataparallel.torch.torch_smddp  # noqa: F401, PLC0415 registers the backend
    import torch.distributed as dist  # noqa: PLC0415

    dist.init_process_group(backend="smddp")
    rank = dist.get_rank()
    mine = contribution(rank)
    dist.all_reduce(mine)
    gathered = [torch.zeros(2) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, contribution(rank))
    dist.barrier()
    found = {
        "name": dist.get_backend(),
        "where": [rank, dist.get_world_size(), int(os.environ["LOCAL_RANK"])],
        "sum": mine.tolist(),
        "gathered": [each.tolist() for each in gathered],
        "weights": trained(torch.nn.parallel.DistributedDataParallel, rank),
        "new_group": refusal(lambda: dist.new_group([0])),
        "gloo_group": refusal(lambda: dist.new_group(backend="gloo")),
        "barrier": refusal(lambda: dist.barrier(device_ids=[0])),
    }
    dist.destroy_process_group()
    return found | {"after": refusal(lambda: dist.new_group([0]))}


def module() -> dict[str, Any]:
    """As programs used SMDDP up to 1.3."""
    import smdistributed.dataparallel.torch.distributed as sdp  # noqa: PLC0415
    from smdistributed.dataparallel.torch.parallel import DistributedDataParallel  # noqa: PLC0415

    before = refusal(sdp.get_rank)
    available = sdp.is_available()
    sdp.init_process_group()
    rank = sdp.get_rank()

    def reduced(op: Any) -> list[float]:
        tensor = contribution(rank)
        sdp.all_reduce(tensor, op=op)
        return tensor.tolist()

    later = contribution(rank)
    work = sdp.all_reduce(later, op=sdp.ReduceOp.AVERAGE, async_op=True)
    work.wait()
    work.wait()
    sent = contribution(rank)
    sdp.broadcast(sent, src=1)
    gathered = [torch.zeros(2) for _ in range(sdp.get_world_size())]
    sdp.all_gather(gathered, contribution(rank))
    sdp.barrier()
    return {
        "before": before,
        "available": available,
        "initialized": sdp.is_initialized(),
        "where": [rank, sdp.get_world_size(), sdp.get_local_rank()],
        **{op.name: reduced(op) for op in sdp.ReduceOp},
        "default": reduced(None),
        "later": later.tolist(),
        "broadcast": sent.tolist(),
        "gathered": [each.tolist() for each in gathered],
        "weights": trained(DistributedDataParallel, rank),
        "group": refusal(lambda: sdp.get_rank(group="another")),
        "ddp_group": refusal(lambda: DistributedDataParallel(torch.nn.Linear(1, 1), process_group="another")),
        "no_sync": hasattr(DistributedDataParallel, "no_sync"),
    }


if __name__ == "__main__":
    result = {"backend": backend, "module": module}[sys.argv[1]]()
    Path(sys.argv[2], f"{os.environ['RANK']}.json").write_text(json.dumps(result))
