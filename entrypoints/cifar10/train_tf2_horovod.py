"""Train the CIFAR-10 model with a loop of our own on any number of ranks.

SageMaker's toolkit starts it on every host of a job (the job files are beside it). By hand, on one rank and on two:

    python SCRIPT --train DIR --validation DIR --model-dir DIR --output-data-dir DIR --checkpoint-dir DIR
    mpirun -np 2 python -m mpi4py SCRIPT ...

What a loop for one rank would not have is marked `Ranks:`. The scripts for Horovod and SMDDP differ in one import.
"""

import time
from functools import partial

import horovod.tensorflow as dist  # Ranks: the library that joins them
import tensorflow as tf

from arguments import parse_args
from data import load, training_batches, validation_batches
from machine import use_own_share
from model import build_model
from ranks import average, average_moving_statistics, start_alike
from report import Report, first_probabilities, report_rank
from resuming import Checkpoints
from schedule import learning_rate
from sharing import Share, steps_per_epoch


def main():
    args = parse_args(__doc__)

    # Ranks: find the others, and share each host with those that run on it.
    dist.init()
    share = Share(dist.rank(), dist.size())
    use_own_share(dist.local_rank(), dist.local_size())

    # Ranks: a seed for each, else all would drop the same units; the first weights are rank 0's anyway.
    tf.keras.utils.set_random_seed(args.seed + share.rank)

    train = load(args.train, skip_corrupt=args.skip_corrupt)
    # Ranks: each takes its own part of every batch, and of the validation.
    steps = steps_per_epoch(len(train), share, args.batch_size)
    validation = load(args.validation, skip_corrupt=args.skip_corrupt)
    validation = validation_batches(validation, share, batch_size=4 * args.batch_size)

    model = build_model(args.width, args.weight_decay, dropout=args.dropout, batch_norm=args.batch_norm)
    optimizer = tf.keras.optimizers.SGD(args.learning_rate, momentum=0.9)
    optimizer.build(model.trainable_variables)
    cross_entropy = tf.keras.losses.sparse_categorical_crossentropy
    # Ranks: a batch `size` times as large takes a longer step, after a warm-up.
    rate = partial(
        learning_rate,
        base=args.learning_rate,
        ranks=share.size,
        policy=args.scaling,
        warmup_steps=args.warmup_epochs * steps,
        total_steps=args.epochs * steps,
    )

    @tf.function
    def train_step(pixels, labels):
        with tf.GradientTape() as tape:
            probabilities = model(pixels, training=True)
            loss = tf.reduce_mean(cross_entropy(labels, probabilities)) + tf.add_n(model.losses)
        # Ranks: every gradient is the mean of all, in the one place where they meet in a step.
        tape = dist.DistributedGradientTape(tape)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return tf.stack([loss, tf.reduce_mean(hits(labels, probabilities))])

    @tf.function
    def validation_step(pixels, labels):
        probabilities = model(pixels, training=False)
        losses, right = cross_entropy(labels, probabilities), hits(labels, probabilities)
        return tf.stack([tf.reduce_sum(losses), tf.reduce_sum(right), tf.cast(tf.size(labels), tf.float32)])

    # Ranks: one reads and writes the checkpoints, and all go on from what it has.
    checkpoints = Checkpoints(args.checkpoint_dir, model, optimizer)
    first_epoch = checkpoints.restore() if share.rank == 0 else 0
    first_epoch = start_alike(dist, model, optimizer, first_epoch)

    # Ranks: one speaks.
    report = Report(args.output_data_dir if share.rank == 0 else None, args.epochs)
    order = {"batch_size": args.batch_size, "seed": args.seed, "augment": args.augment}
    batches = iter(training_batches(train, share, **order, epochs=args.epochs, first_epoch=first_epoch))
    ids = []
    start = time.perf_counter()
    for epoch in range(first_epoch, args.epochs):
        ids, seen, numbers = [], [], range(epoch * steps, (epoch + 1) * steps)
        for step in numbers:
            pixels, labels, of_images = next(batches)
            optimizer.learning_rate.assign(rate(step))
            seen.append(train_step(pixels, labels))
            ids.extend(of_images.numpy())
        # Ranks: all validate, and save, the same model, and the numbers of an epoch are those of all ranks.
        average_moving_statistics(dist, model)
        seen = average(dist, tf.stack(seen)).numpy()
        totals = average(dist, tf.add_n([validation_step(pixels, labels) for pixels, labels, _ in validation])).numpy()
        metrics = {
            "train_loss": seen[:, 0].mean(),
            "train_accuracy": seen[:, 1].mean(),
            "val_loss": totals[0] / totals[2],
            "val_accuracy": totals[1] / totals[2],
        }
        report.epoch(epoch, [(step, loss, rate(step)) for step, loss in zip(numbers, seen[:, 0])], metrics)
        # Ranks: one saves.
        if share.rank == 0:
            checkpoints.save(epoch + 1)
    images = (args.epochs - first_epoch) * steps * args.batch_size * share.size
    report.end(images, time.perf_counter() - start, share.size)
    # Ranks: one saves, and each leaves its own report.
    if share.rank == 0:
        model.save(f"{args.model_dir}/1", include_optimizer=False)  # TensorFlow Serving wants a version for a name
    told = first_probabilities(model, validation)
    report_rank(args.output_data_dir, share, dist.local_rank(), model=model, image_ids=ids, probabilities=told)


def hits(labels, probabilities):
    """1 for each image whose most probable class is its own."""
    return tf.cast(tf.equal(labels, tf.argmax(probabilities, axis=-1)), tf.float32)


if __name__ == "__main__":
    main()
