"""A small VGG for images of 32x32 pixels: three blocks of two convolutions, then two dense layers."""

import tensorflow as tf
from tensorflow.keras import layers


def build_model(width, weight_decay, *, dropout=1.0, batch_norm=True):
    """Take images in uint8 and return the probabilities of 10 classes; width is the channels of the first block.

    Without dropout (0) and batch normalisation, a step depends on its images alone, not on the ranks that share them.
    """
    decay = tf.keras.regularizers.l2(weight_decay)
    image = tf.keras.Input((32, 32, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)  # in the model, so that training and serving can't disagree
    for filters, rate in ((width, 0.2), (2 * width, 0.3), (4 * width, 0.4)):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=not batch_norm, kernel_regularizer=decay)(x)
            if batch_norm:
                x = layers.BatchNormalization(momentum=0.9)(x)  # quick to follow: an epoch may have few steps
            x = layers.ReLU()(x)
        x = layers.MaxPooling2D()(x)
        x = layers.Dropout(dropout * rate)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(16 * width, activation="relu", kernel_regularizer=decay)(x)
    x = layers.Dropout(dropout * 0.5)(x)
    probabilities = layers.Dense(10, activation="softmax", name="probabilities")(x)
    return tf.keras.Model(image, probabilities)
