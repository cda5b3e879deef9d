"""What a training leaves for people: lines in the log, TensorBoard's files, tables, a plot, a report of every rank."""

import csv
import hashlib
import json
import socket
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from plot import curves


class Report:
    """Epoch by epoch, by the one rank that speaks: the others take `Report(None, …)`, which says and writes nothing."""

    def __init__(self, directory, epochs):
        self._directory, self._epochs = directory and Path(directory), epochs
        self._steps, self._rows = [], []
        if directory:
            self._board = SummaryWriter(str(self._directory / "tensorboard"))

    def resumed(self, state):
        """Which checkpoint it goes on from."""
        if self._directory and state:
            print_line(f"resumed from {state['path']}, {state['epochs_done']} epoch(s) done")

    def epoch(self, epoch, steps, metrics):
        """One line in the words that the job file's metric definitions look for; `steps` are (step, loss, rate)."""
        if not self._directory:
            return
        words = {
            "Train_Time": metrics["seconds"],
            "Train_Speed": metrics["images_per_second"],
            "Train_Loss": metrics["train_loss"],
            "Train_Prec@1": 100 * metrics["train_accuracy"],
            "Test_Loss": metrics["val_loss"],
            "Test_Prec@1": 100 * metrics["val_accuracy"],
            "Test_Prec@5": 100 * metrics["val_top5"],
        }
        print_line("  ".join([f"epoch {epoch + 1}/{self._epochs}", *(f"{k}={v:.4f}:" for k, v in words.items())]))
        self._steps += steps
        self._rows.append({"epoch": epoch + 1, **metrics})
        for step, loss, rate in steps:
            self._board.add_scalar("step/loss", loss, step)
            self._board.add_scalar("step/learning_rate", rate, step)
        for name, value in metrics.items():
            self._board.add_scalar(f"epoch/{name}", value, epoch + 1)
        self._board.flush()
        self._write()  # after every epoch: a job may be stopped

    def _write(self):
        with (self._directory / "steps.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("step", "loss", "learning_rate"), *self._steps])
        with (self._directory / "epochs.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, self._rows[0])
            writer.writeheader()
            writer.writerows(self._rows)
        (self._directory / "curves.svg").write_text(curves(self._rows))


def print_line(text):
    """Write text and line end at once: on an unbuffered stdout print writes twice, and mpirun labels each piece."""
    print(text + "\n", end="", flush=True)


def report_rank(directory, share, local_rank, model, image_ids):
    """Leave what this rank was, saw in its last epoch and ended with, so that anyone can see that the ranks agree."""
    weights = hashlib.sha256(b"".join(value.cpu().numpy().tobytes() for value in model.state_dict().values()))
    report = {
        "rank": share.rank,
        "size": share.size,
        "local_rank": local_rank,
        "host": socket.gethostname(),  # not SM_CURRENT_HOST, which MPI copies from rank 0's host to all
        "images_per_epoch": len(image_ids),
        "weights_sha256": weights.hexdigest(),
        "image_ids": sorted(map(int, image_ids)),
    }
    ranks = Path(directory, "ranks")
    ranks.mkdir(parents=True, exist_ok=True)
    Path(ranks, f"rank-{share.rank}.json").write_text(json.dumps(report) + "\n")
