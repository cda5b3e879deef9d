"""Train Mask R-CNN on COCO, with a loop of our own, on any number of ranks.

SageMaker's toolkit starts it on every host of a job (the job files are beside it). By hand, on one rank and on two:

    python SCRIPT --train DIR --validation DIR --model-dir DIR --output-data-dir DIR --checkpoint-dir DIR
    mpirun -np 2 python -m mpi4py SCRIPT ...

What a loop for one rank would not have is marked `Ranks:`. The scripts for Horovod and SMDDP differ in one import.
"""

import json
import time
from functools import partial
from pathlib import Path

import horovod.tensorflow as dist  # Ranks: the library that joins them
import tensorflow as tf

from arguments import parse_args
from data import load, training_batches
from detector import Detector
from evaluation import evaluate
from inputs import batch_spec, model_inputs
from losses import HEADS, heads, losses
from machine import use_own_share
from model import build_model
from ranks import average, average_moving_statistics, start_alike
from report import Report, report_rank
from resuming import Checkpoints
from schedule import learning_rate
from sharing import Share, steps_per_epoch


def main():
    args = parse_args(__doc__)

    # Ranks: find the others, and share each host with those that run on it.
    dist.init()
    share = Share(dist.rank(), dist.size())
    use_own_share(dist.local_rank(), dist.local_size())

    # Ranks: a seed for each, else all would sample alike; the first weights are rank 0's anyway.
    tf.keras.utils.set_random_seed(args.seed + share.rank)
    if args.amp:
        tf.keras.mixed_precision.set_global_policy("mixed_float16")

    train, validation = (load(channel, dist, share, args) for channel in (args.train, args.validation))
    # Ranks: each takes its own part of every batch, and of the validation.
    per_epoch = steps_per_epoch(len(train), share, args.batch_size)
    steps = args.epochs * per_epoch

    model = build_model(args)
    optimizer = tf.keras.optimizers.SGD(args.learning_rate, momentum=args.momentum)
    if args.amp:
        optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    # Ranks: a batch `size` times as large takes a longer step, after a warm-up.
    rate = partial(
        learning_rate,
        base=args.learning_rate,
        ranks=share.size,
        policy=args.scaling,
        warmup_steps=args.warmup_steps,
        steps_per_epoch=per_epoch,
        drops=args.drop_epochs,
        factor=args.drop_factor,
    )
    train_step = make_train_step(model, optimizer, args)

    # Ranks: one reads and writes the checkpoints, and all go on from what it has.
    checkpoints = Checkpoints(args.checkpoint_dir, model, optimizer, unit="step")
    done = checkpoints.restore() if share.rank == 0 else 0
    done = start_alike(dist, model, optimizer, done)

    # Ranks: one speaks.
    report = Report(args.output_data_dir if share.rank == 0 else None, args.epochs, plotted=("loss", "AP"))
    detector = Detector(model, args)
    batches = training_batches(train, share, args, first_step=done, steps=steps)
    ids, seconds = [], 0.0
    for epoch in range(done // per_epoch, args.epochs):
        ids, seen, numbers = [], [], range(max(done, epoch * per_epoch), (epoch + 1) * per_epoch)
        start = time.perf_counter()
        for step in numbers:
            batch, of_images = next(batches)
            optimizer.learning_rate = rate(step)
            seen.append(train_step(batch))
            ids.extend(of_images.numpy())
            if (step + 1) % args.checkpoint_steps == 0 or step + 1 == numbers.stop:
                # Ranks: one saves, what all have.
                average_moving_statistics(dist, model)
                if share.rank == 0:
                    checkpoints.save(step + 1)
        # Ranks: the numbers of an epoch are those of all ranks.
        seen = average(dist, tf.stack(seen)).numpy()
        seconds += time.perf_counter() - start
        results, precisions = evaluate(dist, share, detector, validation, args)
        rows = [(step, loss, rate(step)) for step, loss in zip(numbers, seen[:, 0])]
        metrics = {"train_loss": seen[:, 0].mean(), **dict(zip(HEADS, seen[:, 1:].mean(axis=0))), **precisions}
        report.epoch(epoch, rows, metrics)
        if share.rank == 0:
            Path(args.output_data_dir, "detections.json").write_text(json.dumps(results) + "\n")
    if done < steps:  # a job that is resumed at its end has no step left
        report.end((steps - done) * args.batch_size * share.size, seconds, share.size)
    # Ranks: one saves, and each leaves its own report.
    if share.rank == 0:
        detector.save(f"{args.model_dir}/1")  # TensorFlow Serving wants a version for a name
    report_rank(args.output_data_dir, share, dist.local_rank(), model=model, image_ids=ids)


def make_train_step(model, optimizer, args):
    """One step on a batch: its loss, and how good the heads are."""

    @tf.function(input_signature=[batch_spec(args)])
    def train_step(batch):
        images, labels = model_inputs(batch, args)
        with tf.GradientTape() as tape:
            outputs = model(
                images,
                image_shape=labels["image_info"][:, 1],
                anchor_boxes=labels["anchor_boxes"],
                gt_boxes=labels["gt_boxes"],
                gt_classes=labels["gt_classes"],
                gt_masks=labels["gt_masks"],
                training=True,
            )
            outputs = tf.nest.map_structure(lambda output: tf.cast(output, tf.float32), outputs)
            # Ranks: what a loss divides by is that of all ranks.
            found = losses(outputs, labels, args.anchors_per_image, mean=partial(average, dist))
            loss = tf.reduce_sum(found) + tf.add_n(model.losses or [tf.zeros(())])
            scaled = optimizer.get_scaled_loss(loss) if args.amp else loss
        # Ranks: every gradient is the mean of all, in the one place where they meet in a step.
        tape = dist.DistributedGradientTape(tape)
        gradients = tape.gradient(scaled, model.trainable_variables)
        if args.amp:
            gradients = optimizer.get_unscaled_gradients(gradients)
        if args.gradient_clip:
            gradients, _ = tf.clip_by_global_norm(gradients, args.gradient_clip)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return tf.concat([[loss], heads(outputs, found)], axis=0)

    return train_step


if __name__ == "__main__":
    main()
