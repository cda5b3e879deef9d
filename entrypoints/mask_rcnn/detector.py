"""The trained model as it is judged and served: from an encoded image to its objects in that image's own pixels."""

import tensorflow as tf

from data import fit

FOUND = ("num_detections", "detection_boxes", "detection_scores", "detection_classes", "detection_masks")


class Detector(tf.Module):
    """What a SavedModel holds: it needs neither our code nor Model Garden's to be loaded."""

    def __init__(self, model, args):
        super().__init__()
        self._model, self._args = model, args
        side = args.image_size
        images = tf.TensorSpec((None, side, side, 3), tf.float32)
        self.detect = tf.function(self._detect, input_signature=[images, tf.TensorSpec((None, 4, 2), tf.float32)])
        self.serve = tf.function(self._serve, input_signature=[tf.TensorSpec((None,), tf.string, name="encoded")])

    def _detect(self, images, geometry):
        """Boxes are y and x of two corners; a mask, in floats from 0 to 1, is that of its box."""
        outputs = self._model(images, image_shape=geometry[:, 1], training=False)
        found = {name: outputs[name] for name in FOUND}
        scale = tf.tile(geometry[:, 2], (1, 2))[:, tf.newaxis]
        return {**found, "detection_boxes": found["detection_boxes"] / scale}

    def _serve(self, encoded):
        """Encoded JPEGs or PNGs of any sizes."""

        def one(image):
            return fit(tf.io.decode_image(image, channels=3, expand_animations=False), self._args)

        kinds = (tf.float32, tf.float32)
        images, geometry = tf.map_fn(one, encoded, fn_output_signature=kinds)
        sizes = tf.cast(geometry[:, 0], tf.int32)
        return {**self.detect(images, tf.ensure_shape(geometry, (None, 4, 2))), "image_size": sizes}

    def save(self, directory):
        """Write the SavedModel."""
        tf.saved_model.save(self, directory, signatures=self.serve)
