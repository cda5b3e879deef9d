"""Checkpoints in a directory that SageMaker keeps in step with S3 and fills again when a job is started anew."""

from pathlib import Path

import tensorflow as tf

NAME = "epoch"


class Checkpoints:
    """Model, optimizer and the epochs done, after every epoch; the last three are kept."""

    def __init__(self, directory, model, optimizer):
        self._directory = directory
        self._epochs_done = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, epochs_done=self._epochs_done)
        self._manager = tf.train.CheckpointManager(self._checkpoint, directory, max_to_keep=3, checkpoint_name=NAME)

    def restore(self):
        """Go on from the last whole checkpoint, if there is one; returns how many epochs are done."""
        path = last_whole(self._directory)
        if path:
            try:
                self._checkpoint.restore(path).assert_consumed()
            except (AssertionError, ValueError) as error:
                why = str(error).splitlines()[0]
                raise ValueError(
                    f"{path} is a checkpoint of another model ({why}). Train with the arguments that it was made with, "
                    f"or into an empty checkpoint directory."
                ) from None
            print(f"resumed from {path}, {int(self._epochs_done)} epoch(s) done\n", end="", flush=True)
        return int(self._epochs_done)

    def save(self, epochs_done):
        """Write the state after so many epochs."""
        self._epochs_done.assign(epochs_done)
        self._manager.save(checkpoint_number=epochs_done)


def last_whole(directory):
    """The checkpoint of the most epochs, both of whose files are there: an interruption may have come between them.

    Not what TensorFlow's file `checkpoint` names: that is a third file, and may be of another moment.
    """
    whole = [path.with_suffix("") for path in Path(directory).glob(f"{NAME}-*.index") if has_weights(path)]
    return str(max(whole, key=epochs_of)) if whole else None


def has_weights(index):
    """Whether the other file of a checkpoint is there."""
    return index.with_suffix(".data-00000-of-00001").exists()


def epochs_of(checkpoint):
    """The number at the end of its name."""
    return int(checkpoint.name.rpartition("-")[2])
