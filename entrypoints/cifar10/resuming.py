"""Checkpoints in a directory that SageMaker keeps in step with S3 and fills again when a job is started anew."""

import tensorflow as tf


class Checkpoints:
    """Model, optimizer and the epochs done, after every epoch; the last three are kept."""

    def __init__(self, directory, model, optimizer):
        self._epochs_done = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, epochs_done=self._epochs_done)
        self._manager = tf.train.CheckpointManager(self._checkpoint, directory, max_to_keep=3, checkpoint_name="epoch")

    def restore(self):
        """Go on from the last checkpoint, if there is one; returns how many epochs are done."""
        path = self._manager.latest_checkpoint
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
