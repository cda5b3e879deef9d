"""Train the CIFAR-10 model with Keras on any number of ranks with Horovod.

SageMaker's toolkit starts it on every host of a job (see horovod.toml). By hand, on one rank and on four:

    python train_horovod.py --train DIR --validation DIR --model-dir DIR --output-data-dir DIR --checkpoint-dir DIR
    mpirun -np 4 python -m mpi4py train_horovod.py ...

What train_keras.py, the same for one rank, does not have is marked `Horovod:`.
"""

import time
from functools import partial

import horovod.tensorflow as hvd
import tensorflow as tf
from horovod.tensorflow.keras import DistributedOptimizer

from arguments import parse_args
from data import load, training_batches, validation_batches, without_ids
from fitting import Epochs, Steps, TellingModel
from machine import use_own_share
from model import build_model
from ranks import average, average_moving_statistics, start_alike
from report import Report, first_probabilities, report_rank
from resuming import Checkpoints
from schedule import learning_rate
from sharing import Share, steps_per_epoch, validation_order


def main():
    args = parse_args(__doc__)

    # Horovod: find the other ranks, and share each host with those that run on it.
    hvd.init()
    share = Share(hvd.rank(), hvd.size())
    use_own_share(hvd.local_rank(), hvd.local_size())

    # Horovod: a seed for every rank, else all would drop the same units; the first weights are rank 0's anyway.
    tf.keras.utils.set_random_seed(args.seed + share.rank)

    train = load(args.train, skip_corrupt=args.skip_corrupt)
    # Horovod: every rank takes its own share of every batch, and of the images to validate.
    steps = steps_per_epoch(len(train), share, args.batch_size)
    validation_images = load(args.validation, skip_corrupt=args.skip_corrupt)
    validation = validation_batches(validation_images, share, batch_size=4 * args.batch_size)

    model = build_model(args.width, args.weight_decay, dropout=args.dropout, batch_norm=args.batch_norm)
    # Horovod: each step averages the gradients of all ranks.
    optimizer = DistributedOptimizer(tf.keras.optimizers.SGD(args.learning_rate, momentum=0.9))
    optimizer.build(model.trainable_variables)
    fitted = TellingModel(model.inputs, model.outputs)
    fitted.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])

    # Horovod: a batch `size` times as large takes a longer step, after a warm-up.
    rate = partial(
        learning_rate,
        base=args.learning_rate,
        ranks=share.size,
        policy=args.scaling,
        warmup_steps=args.warmup_epochs * steps,
        total_steps=args.epochs * steps,
    )
    # Horovod: one reads and writes the checkpoints, and all go on from what it has.
    checkpoints = Checkpoints(args.checkpoint_dir, model, optimizer)
    first_epoch = checkpoints.restore() if share.rank == 0 else 0
    first_epoch = start_alike(hvd, model, optimizer, first_epoch)
    # Horovod: one speaks.
    report = Report(args.output_data_dir if share.rank == 0 else None, args.epochs)

    order = {"batch_size": args.batch_size, "seed": args.seed, "augment": args.augment}
    batches = training_batches(train, share, **order, epochs=args.epochs, first_epoch=first_epoch)
    each_step = Steps(rate, steps)
    callbacks = [each_step, OfAllRanks(each_step, validation_weight(len(validation_images), share))]
    if share.rank == 0:
        callbacks.append(Epochs(each_step, report, checkpoints))
    start = time.perf_counter()
    fitted.fit(
        batches,
        steps_per_epoch=steps,
        epochs=args.epochs,
        initial_epoch=first_epoch,
        validation_data=validation.map(without_ids),
        callbacks=callbacks,
        verbose=0,
    )
    images = (args.epochs - first_epoch) * steps * args.batch_size * share.size
    report.end(images, time.perf_counter() - start, share.size)
    # Horovod: one saves, and each leaves its own report.
    if share.rank == 0:
        model.save(f"{args.model_dir}/1", include_optimizer=False)  # TensorFlow Serving wants a version for a name
    told = first_probabilities(model, validation)
    report_rank(args.output_data_dir, share, hvd.local_rank(), model=model, image_ids=each_step.ids, probabilities=told)


def validation_weight(images, share):
    """Horovod: what makes the plain mean over ranks one over images, where a rank may have validated one more."""
    return len(validation_order(images, share)) * share.size / images


class OfAllRanks(tf.keras.callbacks.Callback):
    """Horovod: all ranks validate, and save, the same model, and the numbers of an epoch are those of all ranks."""

    def __init__(self, each_step, weight):
        super().__init__()
        self._each_step, self._weight = each_step, weight

    def on_test_begin(self, logs=None):
        average_moving_statistics(hvd, self.model)

    def on_epoch_end(self, epoch, logs=None):
        self._each_step.losses = average(hvd, tf.constant(self._each_step.losses)).numpy()
        weights = {"loss": 1, "accuracy": 1, "val_loss": self._weight, "val_accuracy": self._weight}
        mine = [logs[name] * weight for name, weight in weights.items()]
        logs.update(zip(weights, average(hvd, tf.constant(mine)).numpy()))


if __name__ == "__main__":
    main()
