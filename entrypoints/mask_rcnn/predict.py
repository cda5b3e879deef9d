"""Find the objects of images with a trained model, and print them as COCO's results: one line of JSON for an image.

python predict.py MODEL_DIR/1 IMAGE...
"""

import json
import sys
from pathlib import Path

import tensorflow as tf

from results import coco_results


def main(model, *images):
    serve = tf.saved_model.load(model).signatures["serving_default"]
    for image in images:
        found = {name: value.numpy()[0] for name, value in serve(tf.constant([Path(image).read_bytes()])).items()}
        height, width = (int(side) for side in found["image_size"])
        print(json.dumps({"image": image, "objects": coco_results(0, height, width, found)}))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
