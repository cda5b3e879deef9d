"""The trained model as it is judged and served: from an encoded image to its objects in that image's own pixels."""

import tensorflow as tf

from inputs import fit, fitted_spec

KINDS = {"num_detections": tf.int32, "detection_classes": tf.int32}
FOUND = ("num_detections", "detection_boxes", "detection_scores", "detection_classes", "detection_masks")


class Detector(tf.Module):
    """What a SavedModel holds: it needs neither our code nor Model Garden's to be loaded."""

    def __init__(self, model, args):
        super().__init__()
        self.weights = model.variables  # not the model, of which TensorFlow would save how it is trained, too
        images, sizes = tf.TensorSpec((None, None, None, 3), tf.uint8), tf.TensorSpec((None, 2), tf.int32)
        encoded = tf.TensorSpec((None,), tf.string, name="encoded")

        def find(images, geometry):
            """Boxes are y and x of two corners; a mask, in floats from 0 to 1, is that of its box."""
            outputs = model(images, image_shape=geometry[:, 1], training=False)
            found = {name: tf.cast(outputs[name], KINDS.get(name, tf.float32)) for name in FOUND}
            scale = tf.tile(geometry[:, 2], (1, 2))[:, tf.newaxis]
            return {**found, "detection_boxes": found["detection_boxes"] / scale}

        @tf.function(input_signature=[images, sizes])
        def detect(images, sizes):
            """Decoded images, padded to the largest of them."""

            def fitted(given):
                image, size = given
                return fit(image[: size[0], : size[1]], args)

            return find(*tf.map_fn(fitted, (images, sizes), fn_output_signature=fitted_spec(args)))

        @tf.function(input_signature=[encoded])
        def serve(encoded):
            """Encoded JPEGs or PNGs of any sizes."""

            def fitted(image):
                return fit(tf.io.decode_image(image, channels=3, expand_animations=False), args)

            images, geometry = tf.map_fn(fitted, encoded, fn_output_signature=fitted_spec(args))
            return {**find(images, geometry), "image_size": tf.cast(geometry[:, 0], tf.int32)}

        self.detect, self.serve = detect, serve

    def save(self, directory):
        """Write the SavedModel."""
        tf.saved_model.save(self, directory, signatures=self.serve)
