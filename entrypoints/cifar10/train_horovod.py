"""Train the CIFAR-10 model with Keras on any number of ranks with Horovod.

SageMaker's toolkit starts it on every host of a job (see horovod.toml). By hand, on one rank and on four:

    python train_horovod.py --train DIR --validation DIR --model-dir DIR --output-data-dir DIR --checkpoint-dir DIR
    mpirun -np 4 python -m mpi4py train_horovod.py ...

What plain Keras would not have is marked `Horovod:`.
"""

import argparse
import hashlib
import json
import os
import socket
import time
from pathlib import Path

import horovod.tensorflow.keras as hvd
import tensorflow as tf

from data import load, training_batches, validation_batches, without_ids
from model import build_model
from report import Report, print_line
from sharing import Share, steps_per_epoch

DATA = ".data-00000-of-00001"  # what TensorFlow calls the larger file of a checkpoint


def main():
    args = parse_args()

    # Horovod: find the other ranks, and share each host with those that run on it.
    hvd.init()
    use_own_share_of_the_machine()

    # Horovod: a seed for every rank, else all would drop the same units; the first weights are rank 0's anyway.
    tf.keras.utils.set_random_seed(args.seed + hvd.rank())

    # Every host has the checkpoints that a spot interruption left: go on after the last whole epoch.
    done = last_epoch(args.checkpoint_dir)
    # Horovod: every rank takes its own share of every batch, and of the images to validate.
    share = Share(hvd.rank(), hvd.size())
    images, validation_images = load(args.train), load(args.validation)
    steps = steps_per_epoch(len(images), share, args.batch_size)
    order = {"batch_size": args.batch_size, "seed": args.seed, "augment": args.augment == "true"}
    train = training_batches(images, share, **order, epochs=args.epochs, first_epoch=done).map(without_ids)
    validation = validation_batches(validation_images, share, batch_size=4 * args.batch_size).map(without_ids)

    # Horovod: the linear scaling rule (Goyal et al., 2017): a batch `size` times as large, a step `size` times as long.
    learning_rate = args.learning_rate * hvd.size()
    # The legacy optimizer, whose momentum is a variable: Horovod's warm-up corrects it as the rate grows.
    optimizer = tf.keras.optimizers.legacy.SGD(learning_rate, momentum=0.9)
    # Horovod: each step averages the gradients of all ranks.
    optimizer = hvd.DistributedOptimizer(optimizer)

    model = build_model(args.width, args.weight_decay)
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])

    callbacks = [
        # Horovod: all ranks go on from rank 0's weights.
        hvd.callbacks.BroadcastGlobalVariablesCallback(0),
        # Horovod: all ranks validate, and save, the same model.
        AverageMovingStatistics(),
        # Horovod: the numbers of an epoch are those of all ranks, each counting for as many images as it validated.
        WeightValidation(len(validation_images)),
        hvd.callbacks.MetricAverageCallback(),
        # Horovod: begin with the rate of one rank, and grow to the scaled one.
        hvd.callbacks.LearningRateWarmupCallback(learning_rate, args.warmup_epochs, steps_per_epoch=steps),
    ]
    # Horovod: one rank speaks and saves.
    if hvd.rank() == 0:
        # TensorFlow's own format: it holds the optimizer's state too, and tf.train.latest_checkpoint finds the last.
        checkpoints = args.checkpoint_dir + "/epoch-{epoch:03d}"
        callbacks += [
            ReportEpoch(Report(args.output_data_dir, args.epochs), steps),
            tf.keras.callbacks.ModelCheckpoint(checkpoints, save_weights_only=True),
        ]

    if done:
        model.load_weights(f"{args.checkpoint_dir}/epoch-{done:03d}").expect_partial()

    start = time.perf_counter()
    model.fit(
        train,
        steps_per_epoch=steps,
        validation_data=validation,
        initial_epoch=done,
        epochs=args.epochs,
        callbacks=callbacks,
        verbose=0,
    )
    seconds = time.perf_counter() - start

    # Horovod: one rank sums up for all.
    if hvd.rank() == 0:
        images = (args.epochs - done) * steps * args.batch_size * hvd.size()
        print_line(f"{images:,} images in {seconds:.1f} s  ranks: {hvd.size()}  images/s: {images / seconds:.1f}")
        model.save(f"{args.model_dir}/1", include_optimizer=False)  # TensorFlow Serving wants a version for a name
    # Horovod: every rank leaves its own report.
    report_rank(args, model, images_per_epoch=steps * args.batch_size)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128, help="images of one rank in a step")
    parser.add_argument("--learning-rate", type=float, default=0.01, help="of one rank: it grows with their number")
    parser.add_argument("--warmup-epochs", type=int, default=3)
    parser.add_argument("--width", type=int, default=32, help="channels of the first convolution")
    parser.add_argument("--weight-decay", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--augment", type=str.lower, choices=("true", "false"), default="false", help="crop and flip")
    env = os.environ.get
    parser.add_argument("--train", default=env("SM_CHANNEL_TRAIN", "/opt/ml/input/data/train"))
    parser.add_argument("--validation", default=env("SM_CHANNEL_VALIDATION", "/opt/ml/input/data/validation"))
    parser.add_argument("--model-dir", default=env("SM_MODEL_DIR", "/opt/ml/model"))
    parser.add_argument("--output-data-dir", default=env("SM_OUTPUT_DATA_DIR", "/opt/ml/output/data"))
    parser.add_argument("--checkpoint-dir", default="/opt/ml/checkpoints")
    parser.add_argument("--model_dir", dest="_", help=argparse.SUPPRESS)  # the SageMaker SDK adds it: not a directory
    return parser.parse_args()


def use_own_share_of_the_machine():
    """Let the ranks of a host share its GPUs, or its cores, rather than fight for them."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        # Horovod: one GPU for each rank of this host.
        tf.config.set_visible_devices(gpus[hvd.local_rank()], "GPU")
        tf.config.experimental.set_memory_growth(gpus[hvd.local_rank()], True)
    else:
        # Horovod: a fair part of the cores for each rank of this host.
        tf.config.threading.set_intra_op_parallelism_threads(max(1, len(os.sched_getaffinity(0)) // hvd.local_size()))


def last_epoch(checkpoint_dir):
    """The last epoch whose checkpoint is whole, or 0: an interruption may have come between two of its files."""
    whole = [path for path in Path(checkpoint_dir).glob("epoch-*.index") if path.with_suffix(DATA).exists()]
    return max((int(path.stem.removeprefix("epoch-")) for path in whole), default=0)


class AverageMovingStatistics(tf.keras.callbacks.Callback):
    """Horovod: average what batch normalisation has seen; only gradients are averaged, so each rank has its own.

    Before validation, not after it, so that the accuracy is that of the model that is saved.
    """

    def on_test_begin(self, logs=None):
        for i, variable in enumerate(self.model.non_trainable_variables):
            variable.assign(hvd.allreduce(variable, name=f"moving_statistics_{i}"))


class WeightValidation(tf.keras.callbacks.Callback):
    """Horovod: make the plain mean over ranks one over images, where a rank may have validated one image more."""

    def __init__(self, images):
        super().__init__()
        self.weight = len(range(hvd.rank(), images, hvd.size())) * hvd.size() / images

    def on_epoch_end(self, epoch, logs=None):
        logs.update({name: value * self.weight for name, value in logs.items() if name.startswith("val_")})


class ReportEpoch(tf.keras.callbacks.Callback):
    """One line an epoch, in the words that the job file's metric definitions look for, and what TensorBoard shows."""

    def __init__(self, report, steps):
        super().__init__()
        self.report, self.steps = report, steps

    def on_epoch_end(self, epoch, logs=None):
        metrics = {
            "train_loss": logs["loss"],
            "train_accuracy": logs["accuracy"],
            "val_loss": logs["val_loss"],
            "val_accuracy": logs["val_accuracy"],
        }
        rate = float(self.model.optimizer.learning_rate)
        self.report.epoch(epoch, [((epoch + 1) * self.steps - 1, logs["loss"], rate)], metrics)


def report_rank(args, model, images_per_epoch):
    """Horovod: leave what this rank was and ended with, so that anyone can see that the ranks agree."""
    weights = hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights()))
    report = {
        "rank": hvd.rank(),
        "size": hvd.size(),
        "local_rank": hvd.local_rank(),
        "host": socket.gethostname(),  # not SM_CURRENT_HOST, which MPI copies from rank 0's host to all
        "images_per_epoch": images_per_epoch,
        "weights_sha256": weights.hexdigest(),
    }
    ranks = Path(args.output_data_dir, "ranks")
    ranks.mkdir(parents=True, exist_ok=True)
    Path(ranks, f"rank-{hvd.rank()}.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
