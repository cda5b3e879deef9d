"""The trained model as it is judged and served: from an encoded image to its objects in that image's own pixels."""

import tensorflow as tf

from data import fit

KINDS = {"num_detections": tf.int32, "detection_classes": tf.int32}
FOUND = ("num_detections", "detection_boxes", "detection_scores", "detection_classes", "detection_masks")


class Detector(tf.Module):
    """What a SavedModel holds: it needs neither our code nor Model Garden's to be loaded."""

    def __init__(self, model, args):
        super().__init__()
        self.weights = model.variables  # not the model, of which TensorFlow would save how it is trained, too
        side = args.image_size
        images, geometry = tf.TensorSpec((None, side, side, 3)), tf.TensorSpec((None, 4, 2))
        encoded = tf.TensorSpec((None,), tf.string, name="encoded")

        @tf.function(input_signature=[images, geometry])
        def detect(images, geometry):
            """Boxes are y and x of two corners; a mask, in floats from 0 to 1, is that of its box."""
            outputs = model(images, image_shape=geometry[:, 1], training=False)
            found = {name: tf.cast(outputs[name], KINDS.get(name, tf.float32)) for name in FOUND}
            scale = tf.tile(geometry[:, 2], (1, 2))[:, tf.newaxis]
            return {**found, "detection_boxes": found["detection_boxes"] / scale}

        @tf.function(input_signature=[encoded])
        def serve(encoded):
            """Encoded JPEGs or PNGs of any sizes."""
            fitted = tf.map_fn(
                lambda image: fit(tf.io.decode_image(image, channels=3, expand_animations=False), args),
                encoded,
                fn_output_signature=(tf.TensorSpec((side, side, 3)), tf.TensorSpec((4, 2))),
            )
            sizes = tf.cast(fitted[1][:, 0], tf.int32)
            return {**detect(*fitted), "image_size": sizes}

        self.detect, self.serve = detect, serve

    def save(self, directory):
        """Write the SavedModel."""
        tf.saved_model.save(self, directory, signatures=self.serve)
