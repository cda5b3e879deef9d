"""What the Keras scripts give to `fit`: a model that tells of every step, and callbacks for what is done around it."""

import tensorflow as tf


class TellingModel(tf.keras.Model):
    """Keras's own step, which also tells the loss of this step alone (Keras's is a mean since the epoch began) and the
    ids of its images; made of the inputs and outputs of another model, whose weights it shares.
    """

    def train_step(self, batch):
        """One step on a batch of (image, label, id)."""
        pixels, labels, ids = batch
        with tf.GradientTape() as tape:
            probabilities = self(pixels, training=True)
            loss = self.compute_loss(pixels, labels, probabilities)
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        return {**self.compute_metrics(pixels, labels, probabilities, None), "step_loss": loss, "step_ids": ids}


class Steps(tf.keras.callbacks.Callback):
    """Set the rate of every step; `losses` and `ids` are those of the epoch's steps."""

    def __init__(self, rate, steps):
        super().__init__()
        self.rate, self.numbers, self.losses, self.ids = rate, range(0), [], []
        self._steps = steps

    def on_epoch_begin(self, epoch, logs=None):
        self.numbers = range(epoch * self._steps, (epoch + 1) * self._steps)
        self.losses, self.ids = [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate.assign(self.rate(self.numbers[batch]))

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["step_loss"])
        self.ids.extend(logs["step_ids"])


class Epochs(tf.keras.callbacks.Callback):
    """Report every epoch, then write a checkpoint."""

    def __init__(self, steps, report, checkpoints):
        super().__init__()
        self._steps, self._report, self._checkpoints = steps, report, checkpoints

    def on_epoch_end(self, epoch, logs=None):
        metrics = {
            "train_loss": logs["loss"],
            "train_accuracy": logs["accuracy"],
            "val_loss": logs["val_loss"],
            "val_accuracy": logs["val_accuracy"],
        }
        steps = [(step, loss, self._steps.rate(step)) for step, loss in zip(self._steps.numbers, self._steps.losses)]
        self._report.epoch(epoch, steps, metrics)
        self._checkpoints.save(epoch + 1)
