"""The arguments of the training scripts of this folder: a job's hyperparameters, and where SageMaker puts things."""

import argparse
import os

from parsing import Parser, positive, truth
from schedule import POLICIES


def parse_args(description):
    """What the command line says, and else the toolkit's SM_* variables. The defaults are Mask R-CNN's own for COCO."""
    parser = Parser(description=description.splitlines()[0], allow_abbrev=False)
    _add_training(parser)
    _add_model(parser)
    env = os.environ.get
    parser.add_argument("--train", default=env("SM_CHANNEL_TRAIN", "/opt/ml/input/data/train"))
    parser.add_argument("--validation", default=env("SM_CHANNEL_VALIDATION", "/opt/ml/input/data/validation"))
    parser.add_argument("--pretrained", default=env("SM_CHANNEL_PRETRAINED", "/opt/ml/input/data/pretrained"))
    parser.add_argument("--model-dir", default=env("SM_MODEL_DIR", "/opt/ml/model"))
    parser.add_argument("--output-data-dir", default=env("SM_OUTPUT_DATA_DIR", "/opt/ml/output/data"))
    parser.add_argument("--checkpoint-dir", default="/opt/ml/checkpoints")
    parser.add_argument("--model_dir", dest="_", help=argparse.SUPPRESS)  # the SageMaker SDK adds it: not a directory
    args = parser.parse_args()
    if args.image_size % 2**args.max_level:
        parser.error(f"--image-size must be a multiple of {2**args.max_level}, which is 2 to the --max-level")
    there_are = args.proposals + args.max_objects
    if not args.masks <= args.rois <= there_are:
        parser.error(
            f"--rois must be from --masks, {args.masks}, to {there_are}, as many as there are in an image: "
            f"--proposals and --max-objects"
        )
    return args


def _add_training(parser):
    parser.add_argument("--epochs", type=positive, default=24)
    parser.add_argument("--batch-size", type=positive, default=4, help="images of one rank in a step")
    parser.add_argument("--eval-batch-size", type=positive, default=8)
    parser.add_argument("--learning-rate", type=float, default=0.0025, help="of one rank: see --scaling")
    parser.add_argument("--scaling", choices=POLICIES, default="linear", help="how it grows with the ranks")
    parser.add_argument("--warmup-steps", type=int, default=1000, help="in which it grows from a third of one rank's")
    parser.add_argument("--drop-epochs", type=epochs, default=[16, 20], help="where it falls, such as 16,20")
    parser.add_argument("--drop-factor", type=float, default=0.1)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--gradient-clip", type=float, default=0.0, help="the greatest norm of all gradients: 0 is any")
    parser.add_argument("--amp", type=truth, default=False, help="compute in float16 where that is safe")
    parser.add_argument("--flip", type=truth, default=True, help="mirror half of the training images")
    parser.add_argument("--checkpoint-steps", type=positive, default=1000, help="steps between two checkpoints")
    parser.add_argument("--skip-corrupt", type=truth, default=False, help="leave out what can't be read, and name it")
    parser.add_argument("--seed", type=int, default=987)


def _add_model(parser):
    parser.add_argument("--classes", type=positive, default=91, help="the highest class id of the objects, plus one")
    parser.add_argument(
        "--image-size", type=positive, default=1024, help="pixels of the square that images are fit into"
    )
    parser.add_argument("--resnet", type=int, default=50, choices=(10, 18, 26, 34, 50, 101, 152))
    parser.add_argument("--resnet-width", type=float, default=1.0, help="times the channels of the ResNet")
    parser.add_argument("--batch-norm", choices=("train", "freeze-backbone", "freeze"), default="freeze-backbone")
    parser.add_argument("--backbone-weights", default="", help="a checkpoint of the backbone in the channel pretrained")
    parser.add_argument("--min-level", type=int, default=2, help="of the pyramid: features of 1/4 of the image's size")
    parser.add_argument("--max-level", type=int, default=6)
    parser.add_argument("--filters", type=positive, default=256, help="of the pyramid and the heads")
    parser.add_argument("--box-units", type=positive, default=1024, help="of the box head's two layers")
    parser.add_argument("--mask-convolutions", type=int, default=4)
    parser.add_argument("--anchor-size", type=float, default=8.0, help="times the stride of a level")
    parser.add_argument("--aspect-ratios", type=ratios, default=[0.5, 1.0, 2.0])
    parser.add_argument("--anchors-per-image", type=positive, default=256, help="that the proposals learn from")
    parser.add_argument("--proposals", type=positive, default=1000)
    parser.add_argument("--rois", type=positive, default=512, help="that the box head learns from, of an image")
    parser.add_argument("--foreground", type=float, default=0.25, help="the greatest part of them with an object")
    parser.add_argument("--masks", type=positive, default=128, help="that the mask head learns from, of an image")
    parser.add_argument("--max-objects", type=positive, default=100, help="of an image, to learn from and to find")


def epochs(text):
    """Whole numbers between commas, rising."""
    found = [int(word) for word in text.split(",") if word]
    if found != sorted(found):
        raise argparse.ArgumentTypeError(f"must rise, not {text!r}")
    return found


def ratios(text):
    """Numbers between commas."""
    return [float(word) for word in text.split(",")]
