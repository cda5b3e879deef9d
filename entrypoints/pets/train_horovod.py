"""Fine-tune a network to the breeds of Oxford-IIIT Pets with Horovod, on any number of ranks.

SageMaker's toolkit starts it on every host of a job (the job files are beside it). By hand, on one rank and on two:

    python SCRIPT --train DIR --validation DIR --model-dir DIR --output-data-dir DIR --checkpoint-dir DIR
    mpirun -np 2 python -m mpi4py SCRIPT ...

What a loop for one rank would not have is marked `Ranks:`.
"""

import time
from functools import partial

import horovod.torch as dist  # Ranks: the library that joins them
import torch
from torch.nn.functional import cross_entropy

from arguments import parse_args
from counting import epoch_metrics, hits, validate
from data import listed, readable, training_batches, validation_batches
from machine import own_share
from model import OPTIMIZERS, build_model, export
from ranks import average_moving_statistics, shared, total
from report import Report, report_rank
from resuming import Checkpoints
from schedule import learning_rate
from sharing import Share, steps_per_epoch


def main():
    args = parse_args(__doc__)

    # Ranks: find the others, and share each host with those that run on it.
    dist.init()
    share = Share(dist.rank(), dist.size())
    device = own_share(dist.local_rank(), dist.local_size())
    together = partial(total, dist)

    # Ranks: each takes its own part of every batch, and of the validation.
    train, held_out = (
        readable(listed(channel), share, together, skip_corrupt=args.skip_corrupt)
        for channel in (args.train, args.validation)
    )
    steps = steps_per_epoch(len(train), share, args.batch_size)

    torch.manual_seed(args.seed)
    model = build_model(args, len(train.classes)).to(device)
    optimizer = OPTIMIZERS[args.optimizer](model.parameters(), lr=args.learning_rate, weight_decay=args.weight_decay)
    # Ranks: every gradient is the mean of all.
    optimizer = dist.DistributedOptimizer(optimizer, named_parameters=model.named_parameters())
    scaler = torch.cuda.amp.GradScaler(enabled=args.amp and device.type == "cuda")
    # Ranks: a batch `size` times as large takes a longer step, after a warm-up.
    rate = partial(
        learning_rate,
        base=args.learning_rate,
        ranks=share.size,
        policy=args.scaling,
        warmup_steps=args.warmup_epochs * steps,
        total_steps=args.epochs * steps,
    )

    # Ranks: one reads and writes the checkpoints, and all go on from what it has.
    checkpoints = Checkpoints(args.checkpoint_dir, model=model, optimizer=optimizer, scaler=scaler)
    state = shared(dist, checkpoints.latest() if share.rank == 0 else None)
    first_epoch = checkpoints.restore(state)

    # Ranks: all begin with rank 0's weights.
    dist.broadcast_parameters(model.state_dict(), root_rank=0)

    # Ranks: one speaks.
    report = Report(args.output_data_dir if share.rank == 0 else None, args.epochs)
    report.resumed(state)
    batches = iter(training_batches(train, share, args, first_epoch))
    ids = []
    for epoch in range(first_epoch, args.epochs):
        ids, seen, rates = [], [], [rate(step) for step in range(epoch * steps, (epoch + 1) * steps)]
        model.train()
        start = time.perf_counter()
        for step_rate in rates:
            images, labels, of_images = next(batches)
            labels = labels.to(device)
            optimizer.param_groups[0]["lr"] = step_rate
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.float16 if scaler.is_enabled() else torch.bfloat16, args.amp):
                logits = model(images.to(device))
                loss = cross_entropy(logits, labels)
            scaler.scale(loss).backward()
            # Ranks: the gradients have met, before the scaler looks at them.
            optimizer.synchronize()
            scaler.unscale_(optimizer)
            with optimizer.skip_synchronize():
                scaler.step(optimizer)
            scaler.update()
            seen.append(torch.stack([loss.detach(), hits(logits, labels) / len(labels)]))
            ids.extend(of_images.tolist())
        # Ranks: the numbers of an epoch are those of all ranks, and all validate, and save, the same model.
        seen = together(torch.stack(seen).cpu()) / share.size
        seconds = time.perf_counter() - start
        average_moving_statistics(model, share, together)
        totals = together(validate(model, validation_batches(held_out, share, args), device))
        metrics = epoch_metrics(seen, totals, steps * args.batch_size * share.size, seconds)
        report.epoch(epoch, [(epoch * steps + i, float(seen[i, 0]), rates[i]) for i in range(steps)], metrics)
        # Ranks: one saves.
        if share.rank == 0:
            checkpoints.save(epoch + 1)
    # Ranks: one saves, and each leaves its own report.
    report_rank(args.output_data_dir, share, dist.local_rank(), model, ids)
    if share.rank == 0:
        export(model, args.size, train.classes, args.model_dir)


if __name__ == "__main__":
    main()
