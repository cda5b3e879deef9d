"""How the training scripts read their command line, which is a job's hyperparameters."""

import argparse


class Parser(argparse.ArgumentParser):
    """One that raises: a job's FailureReason has the last error in stderr, and nothing of a usage."""

    def error(self, message):
        # None: of errors that led to each other the toolkit tells the first.
        raise ValueError(message) from None


def positive(text):
    """A whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {number}")
    return number


def truth(text):
    """SageMaker sends a job file's true and false as the words True and False."""
    try:
        return {"true": True, "false": False}[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"must be true or false, not {text!r}") from None
