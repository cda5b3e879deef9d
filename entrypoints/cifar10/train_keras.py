"""Train the CIFAR-10 model with Keras on one GPU, or on a CPU.

SageMaker's toolkit starts it (see keras.toml, and keras_script_mode.toml, which brings the script along). By hand:

    python train_keras.py --train DIR --validation DIR --model-dir DIR --output-data-dir DIR --checkpoint-dir DIR

train_horovod.py is the same for several ranks.
"""

import time
from functools import partial

import tensorflow as tf

from arguments import parse_args
from data import load, training_batches, validation_batches, without_ids
from fitting import Epochs, Steps, TellingModel
from machine import use_own_share
from model import build_model
from report import Report, first_probabilities, report_rank
from resuming import Checkpoints
from schedule import learning_rate
from sharing import Share, steps_per_epoch


def main():
    args = parse_args(__doc__)
    share = Share()
    use_own_share()
    tf.keras.utils.set_random_seed(args.seed)

    train = load(args.train, skip_corrupt=args.skip_corrupt)
    steps = steps_per_epoch(len(train), share, args.batch_size)
    validation = load(args.validation, skip_corrupt=args.skip_corrupt)
    validation = validation_batches(validation, share, batch_size=4 * args.batch_size)

    model = build_model(args.width, args.weight_decay, dropout=args.dropout, batch_norm=args.batch_norm)
    optimizer = tf.keras.optimizers.SGD(args.learning_rate, momentum=0.9)
    optimizer.build(model.trainable_variables)
    fitted = TellingModel(model.inputs, model.outputs)
    fitted.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])

    rate = partial(
        learning_rate,
        base=args.learning_rate,
        ranks=share.size,
        policy=args.scaling,
        warmup_steps=args.warmup_epochs * steps,
        total_steps=args.epochs * steps,
    )
    checkpoints = Checkpoints(args.checkpoint_dir, model, optimizer)
    first_epoch = checkpoints.restore()
    report = Report(args.output_data_dir, args.epochs)

    order = {"batch_size": args.batch_size, "seed": args.seed, "augment": args.augment}
    batches = training_batches(train, share, **order, epochs=args.epochs, first_epoch=first_epoch)
    each_step = Steps(rate, steps)
    start = time.perf_counter()
    fitted.fit(
        batches,
        steps_per_epoch=steps,
        epochs=args.epochs,
        initial_epoch=first_epoch,
        validation_data=validation.map(without_ids),
        callbacks=[each_step, Epochs(each_step, report, checkpoints)],
        verbose=0,
    )
    images = (args.epochs - first_epoch) * steps * args.batch_size
    report.end(images, time.perf_counter() - start, share.size)
    model.save(f"{args.model_dir}/1", include_optimizer=False)  # TensorFlow Serving wants a version for a name
    told = first_probabilities(model, validation)
    report_rank(args.output_data_dir, share, 0, model=model, image_ids=each_step.ids, probabilities=told)


if __name__ == "__main__":
    main()
