"""The arguments of the training scripts of this folder: a job's hyperparameters, and where SageMaker puts things."""

import argparse
import os

from parsing import Parser, positive, truth
from schedule import POLICIES


def parse_args(description):
    """What the command line says, and else the toolkit's SM_* variables."""
    parser = Parser(description=description.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--epochs", type=positive, default=10)
    parser.add_argument("--batch-size", type=positive, default=128, help="images of one rank in a step")
    parser.add_argument("--learning-rate", type=float, default=0.01, help="of one rank: see --scaling")
    parser.add_argument("--scaling", choices=POLICIES, default="linear", help="how it grows with the ranks")
    parser.add_argument("--warmup-epochs", type=int, default=3, help="in which it grows from one rank's")
    parser.add_argument("--width", type=positive, default=32, help="channels of the first convolution")
    parser.add_argument("--weight-decay", type=float, default=2e-4)
    parser.add_argument("--dropout", type=float, default=1.0, help="times the model's own rates: 0 is none")
    parser.add_argument("--batch-norm", type=truth, default=True)
    parser.add_argument("--augment", type=truth, default=False, help="crop and flip the training images")
    parser.add_argument("--skip-corrupt", type=truth, default=False, help="leave out what can't be read, and name it")
    parser.add_argument("--seed", type=int, default=42)
    env = os.environ.get
    parser.add_argument("--train", default=env("SM_CHANNEL_TRAIN", "/opt/ml/input/data/train"))
    parser.add_argument("--validation", default=env("SM_CHANNEL_VALIDATION", "/opt/ml/input/data/validation"))
    parser.add_argument("--model-dir", default=env("SM_MODEL_DIR", "/opt/ml/model"))
    parser.add_argument("--output-data-dir", default=env("SM_OUTPUT_DATA_DIR", "/opt/ml/output/data"))
    parser.add_argument("--checkpoint-dir", default="/opt/ml/checkpoints")
    parser.add_argument("--model_dir", dest="_", help=argparse.SUPPRESS)  # the SageMaker SDK adds it: not a directory
    return parser.parse_args()
