"""Checkpoints in a directory that SageMaker keeps in step with S3 and fills again when a job is started anew."""

from pathlib import Path

import torch

KEPT = 3


class Checkpoints:
    """Model, optimizer, loss scaler and the epochs done, after every epoch; the last three are kept."""

    def __init__(self, directory, **parts):
        self._directory, self._parts = Path(directory), parts

    def latest(self):
        """The state that was saved last; none where there is none."""
        paths = self._paths()
        return {"path": str(paths[-1]), **torch.load(paths[-1], map_location="cpu")} if paths else None

    def restore(self, state):
        """Go on from a state; returns how many epochs are done."""
        if state is None:
            return 0
        try:
            for name, part in self._parts.items():
                part.load_state_dict(state[name])
        except (KeyError, ValueError, RuntimeError) as error:
            why = str(error).splitlines()[-1].strip()
            raise ValueError(
                f"{state['path']} is a checkpoint of another model ({why}). Train with the arguments that it was made "
                "with, or into an empty checkpoint directory."
            ) from None
        return state["epochs_done"]

    def save(self, epochs_done):
        """Write the state after so many epochs, whole or not at all."""
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / f"epoch-{epochs_done:03d}.pt"
        part = path.with_suffix(".tmp")
        torch.save(
            {"epochs_done": epochs_done, **{name: each.state_dict() for name, each in self._parts.items()}}, part
        )
        part.replace(path)
        for old in self._paths()[:-KEPT]:
            old.unlink()

    def _paths(self):
        return sorted(self._directory.glob("epoch-*.pt"))
