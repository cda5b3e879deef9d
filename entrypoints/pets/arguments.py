"""The arguments of the training scripts of this folder: a job's hyperparameters, and where SageMaker puts things."""

import os

from model import NETWORKS
from parsing import Parser, positive, truth
from schedule import POLICIES


def parse_args(description):
    """What the command line says, and else the toolkit's SM_* variables."""
    parser = Parser(description=description.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--model", choices=NETWORKS, default="resnet50")
    parser.add_argument(
        "--weights", default="", help="file of the channel weights to begin with; else drawn by the seed"
    )
    parser.add_argument("--size", type=positive, default=224, help="pixels of an image's side, as the network sees it")
    parser.add_argument("--epochs", type=positive, default=5)
    parser.add_argument("--batch-size", type=positive, default=64, help="images of one rank in a step")
    parser.add_argument("--optimizer", choices=("adam", "sgd"), default="adam")
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="of one rank: see --scaling")
    parser.add_argument("--scaling", choices=POLICIES, default="linear", help="how it grows with the ranks")
    parser.add_argument("--warmup-epochs", type=int, default=1, help="in which it grows from one rank's")
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument(
        "--augment", type=truth, default=True, help="train on random parts of the images, mirrored or not"
    )
    parser.add_argument("--amp", type=truth, default=False, help="compute in 16 bits where that is safe")
    parser.add_argument("--workers", type=int, default=0, help="processes of each rank that read images; 0 is its own")
    parser.add_argument("--skip-corrupt", type=truth, default=False, help="leave out what can't be read, and name it")
    parser.add_argument("--seed", type=int, default=1)
    env = os.environ.get
    parser.add_argument("--train", default=env("SM_CHANNEL_TRAIN", "/opt/ml/input/data/train"))
    parser.add_argument("--validation", default=env("SM_CHANNEL_VALIDATION", "/opt/ml/input/data/validation"))
    parser.add_argument("--weights-dir", default=env("SM_CHANNEL_WEIGHTS", "/opt/ml/input/data/weights"))
    parser.add_argument("--model-dir", default=env("SM_MODEL_DIR", "/opt/ml/model"))
    parser.add_argument("--output-data-dir", default=env("SM_OUTPUT_DATA_DIR", "/opt/ml/output/data"))
    parser.add_argument("--checkpoint-dir", default="/opt/ml/checkpoints")
    return parser.parse_args()
