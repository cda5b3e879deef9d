"""Checkpoints in a directory that SageMaker keeps in step with S3 and fills again when a job is started anew."""

from pathlib import Path

import tensorflow as tf

NAME = "epoch"


class Checkpoints:
    """Model, optimizer and the epochs done, or what else a training counts; the last three are kept."""

    def __init__(self, directory, model, optimizer, unit="epoch"):
        self._directory = directory
        self._unit, self._done = unit, tf.Variable(0, dtype=tf.int64, trainable=False)
        state = {"model": model, "optimizer": optimizer, f"{unit}s_done": self._done}
        self._checkpoint = tf.train.Checkpoint(**state)
        self._manager = tf.train.CheckpointManager(self._checkpoint, directory, max_to_keep=3, checkpoint_name=unit)

    def restore(self):
        """Go on from the last whole checkpoint, if there is one; returns how many epochs, or steps, are done."""
        path = last_whole(self._directory, self._unit)
        if path:
            try:
                self._checkpoint.restore(path).assert_consumed()
            except (AssertionError, ValueError) as error:
                why = str(error).splitlines()[0]
                raise ValueError(
                    f"{path} is a checkpoint of another model ({why}). Train with the arguments that it was made with, "
                    f"or into an empty checkpoint directory."
                ) from None
            print(f"resumed from {path}, {int(self._done)} {self._unit}(s) done\n", end="", flush=True)
        return int(self._done)

    def save(self, done):
        """Write the state after so many."""
        self._done.assign(done)
        self._manager.save(checkpoint_number=done)


def last_whole(directory, unit="epoch"):
    """The checkpoint of the most epochs, both of whose files are there: an interruption may have come between them.

    Not what TensorFlow's file `checkpoint` names: that is a third file, and may be of another moment.
    """
    whole = [path.with_suffix("") for path in Path(directory).glob(f"{unit}-*.index") if has_weights(path)]
    return str(max(whole, key=count_of)) if whole else None


def has_weights(index):
    """Whether the other file of a checkpoint is there."""
    return index.with_suffix(".data-00000-of-00001").exists()


def count_of(checkpoint):
    """The number at the end of its name."""
    return int(checkpoint.name.rpartition("-")[2])
