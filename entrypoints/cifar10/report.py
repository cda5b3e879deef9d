"""What a training leaves for people: lines in the log, TensorBoard's files, tables, a plot, a report of every rank."""

import csv
import hashlib
import json
import socket
from pathlib import Path

import tensorflow as tf

from plot import curves

IMAGES_TOLD = 8  # of a rank's validation, with their probabilities


class Report:
    """Epoch by epoch, by the one rank that speaks: the others take `Report(None, …)`, which says and writes nothing."""

    def __init__(self, directory, epochs, plotted=("loss", "accuracy")):
        self._directory, self._epochs, self._plotted = directory and Path(directory), epochs, plotted
        self._steps, self._rows = [], []
        if directory:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._board = tf.summary.create_file_writer(str(self._directory / "tensorboard"))

    def epoch(self, epoch, steps, metrics):
        """One line in the words that the job file's metric definitions look for; `steps` are (step, loss, rate)."""
        if not self._directory:
            return
        words = "  ".join(f"{name}: {value:.4f}" for name, value in metrics.items())
        print_line(f"epoch {epoch + 1}/{self._epochs}  {words}")
        self._steps += steps
        self._rows.append({"epoch": epoch + 1, **metrics})
        with self._board.as_default():
            for step, loss, rate in steps:
                tf.summary.scalar("step/loss", loss, step)
                tf.summary.scalar("step/learning_rate", rate, step)
            for name, value in metrics.items():
                tf.summary.scalar(f"epoch/{name}", value, epoch + 1)
        self._board.flush()
        self._write()  # after every epoch: a job may be stopped

    def end(self, images, seconds, ranks):
        """How fast it was: all ranks' images, in the seconds of the training loop."""
        if self._directory:
            print_line(f"{images:,} images in {seconds:.1f} s  ranks: {ranks}  images/s: {images / seconds:.1f}")

    def _write(self):
        with (self._directory / "steps.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("step", "loss", "learning_rate"), *self._steps])
        with (self._directory / "epochs.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, self._rows[0])
            writer.writeheader()
            writer.writerows(self._rows)
        (self._directory / "curves.svg").write_text(curves(self._rows, self._plotted))


def print_line(text):
    """Write text and line end at once: on an unbuffered stdout print writes twice, and mpirun labels each piece."""
    print(text + "\n", end="", flush=True)


def report_rank(directory, share, local_rank, *, model, image_ids, **more):
    """Leave what this rank was, saw in its last epoch and ended with, so that anyone can see that the ranks agree.

    What `more` it has to say comes last.
    """
    weights = hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights()))
    report = {
        "rank": share.rank,
        "size": share.size,
        "local_rank": local_rank,
        "host": socket.gethostname(),  # not SM_CURRENT_HOST, which MPI copies from rank 0's host to all
        "images_per_epoch": len(image_ids),
        "weights_sha256": weights.hexdigest(),
        "image_ids": sorted(map(int, image_ids)),
        **more,
    }
    ranks = Path(directory, "ranks")
    ranks.mkdir(parents=True, exist_ok=True)
    Path(ranks, f"rank-{share.rank}.json").write_text(json.dumps(report) + "\n")


def first_probabilities(model, validation):
    """Those of the first images that a rank validated, by their ids, to be compared with what a loaded model says."""
    pixels, _, ids = next(iter(validation.unbatch().batch(IMAGES_TOLD)))
    return {int(image): row.tolist() for image, row in zip(ids, model(pixels, training=False).numpy())}
