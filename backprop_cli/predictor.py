"""A model file and pictures in, probabilities out. Nothing but the model file decides how pictures are prepared."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_cli.arrays import Array, Float32Array
from backprop_cli.blas import blas_threads
from backprop_cli.data.dataset import Scaling
from backprop_cli.data.form import Form
from backprop_cli.data.layout import Layout
from backprop_cli.data.normalize import FULL_COUNT, Slant
from backprop_cli.engine.layers import LayerSpec
from backprop_cli.engine.losses import loss_of
from backprop_cli.engine.network import Network
from backprop_cli.errors import ModelFileError, reason_of
from backprop_cli.store.model_file import Model, load_model
from backprop_cli.store.runs import PRETRAINED

UNSURE = 0.4  # where the config says nothing else
SURELY = 0.1  # by which more of the digits are read right the one way than the other


class Predictor:
    """The networks of a model file, ready to answer.

    Attributes:
        model: What the file held.
        where: What messages call it.
        networks: One for each member of the ensemble.
        classes: Class names, in the order of the probabilities.
        picture_size: Height and width of the pictures that the network sees.
        scaling: How pictures become inputs.
        form: What it sees of the ink on a picture.
        n_threads: BLAS threads that it was trained with, and answers with.
        unsure: Probability of an answer below which it is warned of.
    """

    def __init__(self, model: Model, where: str = "model") -> None:
        """Build the networks.

        Raises:
            ModelFileError: The file names an activation or a loss that does not exist here.
        """
        self.model, self.where, self.classes = model, where, model.classes
        height, width = model.preprocessing["picture"]
        self.picture_size = (height, width)
        layout = model.preprocessing.get("layout")
        slant: Slant = model.preprocessing["slant"]
        self.form = Form(self.picture_size, slant, None if layout is None else Layout.from_dict(layout))
        calibration = model.config.get("calibration")  # checked by nobody yet
        unsure = calibration.get("unsure") if isinstance(calibration, dict) else None
        self.unsure = unsure if type(unsure) is float and 0.0 <= unsure <= 1.0 else UNSURE
        training = model.config.get("training")
        threads = training.get("threads") if isinstance(training, dict) else None
        self.n_threads = threads if type(threads) is int and 1 <= threads <= 256 else 1
        self.scaling = Scaling(model.preprocessing["max_value"], model.mean, model.preprocessing["scale"])
        try:
            specs = [LayerSpec(**layer) for layer in model.layers]
            self.loss = loss_of(model.loss)
        except (TypeError, ValueError, KeyError) as error:
            raise ModelFileError(f"{where}: this version cannot build its network: {reason_of(error)}") from error
        self.networks = []
        for params in model.members:
            network = Network(specs, model.n_inputs, len(model.classes))
            network.params[...] = params
            self.networks.append(network)

    @classmethod
    def load(cls, path: Path) -> Predictor:
        """Return the predictor of a model file.

        Raises:
            ModelFileError: The file is damaged, hostile or of a newer version, or its numbers are too large.
        """
        predictor = cls(load_model(path), str(path))
        ink = np.zeros((2, *predictor.picture_size), np.float32)
        ink[1] = predictor.scaling.max_value
        predictor.probabilities(ink)  # no command meets overflow later, in the middle of its answer
        return predictor

    @property
    def sees_rows(self) -> bool:
        """Whether arrays are taken as they are, not counted; older models keep no layout of them."""
        return self.form.layout is not None or self.scaling.max_value != FULL_COUNT

    def probabilities(self, pictures: NDArray[Any]) -> Array:
        """Return the mean answer of the networks, (n, n_classes), each row's sum 1.

        Args:
            pictures: (n, height, width), ink high, from 0 to the `max_value` of the model.

        Raises:
            ModelFileError: The model's numbers are so large that no answer comes of them.
        """
        answers = self.answers(pictures, self.networks)
        if not np.isfinite(answers).all():
            raise ModelFileError(f"{self.where}: its numbers are too large to give an answer; train it again")
        return answers

    def answers(self, pictures: NDArray[Any], networks: Sequence[Network]) -> Array:
        """Return the mean answer of other networks in place of its own, (n, n_classes), finite or not."""
        temperature = self.model.temperature
        with np.errstate(all="ignore"), blas_threads(self.n_threads):
            inputs = self.scaling.apply(pictures)
            members = [self.loss.probabilities(network.logits(inputs) / temperature) for network in networks]
            return np.asarray(sum(members[1:], members[0]) / len(members))

    def best_class(self, probabilities: Array) -> tuple[str, float]:
        """Return the name and the probability of the likeliest class of one answer, (n_classes,)."""
        best = int(probabilities.argmax())
        return self.classes[best], float(probabilities[best])

    def warnings(self, probabilities: Array) -> list[str]:
        """Return what speaks against one answer, (n_classes,), in words."""
        _, sure = self.best_class(probabilities)
        if sure < self.unsure:
            return [f"the network is not sure ({100 * sure:.0f} %)"]
        return []


def lies_transposed(ink: Float32Array, names: Sequence[str] = ()) -> bool | None:
    """Return whether digits lie transposed, judged by the model that travels in the package; None if it cannot tell.

    Args:
        ink: Bright ink on 0 in [0, 1], (n, side, side).
        names: What each is, (n,); none: the way counts on which it is the surer.
    """
    model = _pretrained()
    shares = []
    for way in (ink, ink.swapaxes(1, 2)):
        probabilities = model.probabilities(model.form.seen(way) * model.scaling.max_value)
        best = probabilities.argmax(axis=1)
        right = [model.classes[k] == name for k, name in zip(best, names, strict=True)] if names else None
        shares.append(probabilities.max(axis=1).mean() if right is None else np.mean(right))
    upright, transposed = shares
    return None if abs(transposed - upright) < SURELY else bool(transposed > upright)


@functools.cache
def _pretrained() -> Predictor:
    return Predictor.load(PRETRAINED)
