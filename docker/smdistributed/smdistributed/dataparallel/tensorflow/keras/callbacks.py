"""Callbacks for Keras's fit."""

from horovod.tensorflow.keras.callbacks import BroadcastGlobalVariablesCallback

__all__ = ["BroadcastGlobalVariablesCallback"]
