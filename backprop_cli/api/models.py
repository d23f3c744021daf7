"""A trained model: found, loaded, and asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from backprop_cli.api.arguments import Reference, named
from backprop_cli.files import clean
from backprop_cli.predictor import Predictor
from backprop_cli.store.runs import find_model, is_unfinished

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backprop_cli.api.evaluation import Evaluation
    from backprop_cli.api.explanation import Explanation
    from backprop_cli.api.number import Number
    from backprop_cli.api.pictures import Source
    from backprop_cli.api.prediction import Prediction
    from backprop_cli.config.config import Config
    from backprop_cli.data.ink import Invert

LEAST_ACCURACY = 0.5  # of the validation part, below which a model is warned of
Part = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A trained classifier: one network, or several whose answers are averaged.

    Several threads may ask it at once.

    Attributes:
        path: Its file; None for one that was never written.
        predictor: Its networks, ready to answer.
    """

    predictor: Predictor
    path: Path | None = None

    @classmethod
    def load(cls, reference: Reference | None = None, *, or_pretrained: bool = False) -> Model:
        """Return a model; see `load`."""
        path = find_model(named(reference), or_pretrained=or_pretrained)
        return cls(Predictor.load(path), path)

    def __repr__(self) -> str:
        height, width = self.picture_size
        n_networks = len(self.predictor.networks)
        networks = f" in {n_networks} networks" if n_networks > 1 else ""
        about = f"{height}x{width} pictures to {len(self.classes)} classes, {self.n_parameters:,} parameters{networks}"
        return f"<Model {clean(self.path or 'in memory')}: {about}>"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return self.predictor.classes

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width of what the network sees."""
        return self.predictor.picture_size

    @property
    def n_parameters(self) -> int:
        """How many weights and biases there are, in all networks together."""
        return sum(network.n_params for network in self.predictor.networks)

    @property
    def config(self) -> Config:
        """The config that it was trained with.

        Raises:
            ConfigError: It is not one of this version.
        """
        from backprop_cli.config.config import config_of

        return config_of(self.predictor.model.config, where=f"{self.predictor.where}: config")

    @property
    def doubts(self) -> list[str]:
        """What speaks against taking it without a thought, in words."""
        accuracy = self.predictor.model.summary.get("val_accuracy")
        found = []
        if isinstance(accuracy, float) and accuracy < LEAST_ACCURACY:
            found.append(f"its validation accuracy is only {100 * accuracy:.1f} %")
        if self.path is not None and is_unfinished(self.path):
            found.append("its training is not finished: it was stopped and can be resumed")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return what it is, as plain data."""
        return {
            "model": None if self.path is None else str(self.path),
            "classes": list(self.classes),
            "picture_size": list(self.picture_size),
            "n_parameters": self.n_parameters,
            "n_networks": len(self.predictor.networks),
            "temperature": self.predictor.model.temperature,
        }

    # ---- pictures as a person sees them ----------------------------------------------------------------------------

    def predict(self, picture: Source, *, invert: Invert = "auto") -> Prediction:
        """Return what it makes of one picture.

        Args:
            picture: A file's path, the content of a file, a picture of Pillow's, `digits:555` (a sample of the digits
                data set), `-` (standard input), or an array: uint8 or from 0 to 1, (height, width) gray or
                (height, width, 3) RGB, with a fourth channel transparent. Of any size, light on dark or dark on light.
            invert: "no" for dark ink on a light background, "yes" for light on dark, "auto" to find out.

        Raises:
            PictureError: It cannot be read, or is blank.
            UsageError: There is no such sample, or the array is not a picture.
            ModelFileError: The model's numbers are so large that no answer comes of them.
        """
        from backprop_cli.api.prediction import predict

        return predict(self.predictor, picture, invert)

    def predict_many(self, pictures: Source | Iterable[Source], *, invert: Invert = "auto") -> Iterator[Prediction]:
        """Return what it makes of pictures, one after the other; one that cannot be read comes with its `error`.

        Args:
            pictures: A folder, whose pictures are taken in order of their names (of one with folders of pictures, those
                in them); a table of rows, with labels or without: FILE.csv, .npz with `images`, .npy, an idx file, a
                folder with `images.npy`; or any number of these and of what `predict` takes. An iterator is asked for
                one after the other, and a table is read a batch at a time.
            invert: As in `predict`.

        Raises:
            UsageError: A folder holds no pictures; and what `predict` refuses as no picture ends the answers.
        """
        from backprop_cli.api.prediction import predict_many

        return predict_many(self.predictor, pictures, invert)

    def predict_number(self, picture: Source, *, invert: Invert = "auto") -> Number:
        """Return the digits of one picture, from left to right; digits that touch each other are taken for one.

        Args:
            picture: As in `predict`, but for samples, which hold one digit each.
            invert: As in `predict`.

        Raises:
            PictureError: It cannot be read, or is blank.
            UsageError: It is a sample, or the array is not a picture.
        """
        from backprop_cli.api.number import predict_number

        return predict_number(self.predictor, picture, invert)

    def predict_numbers(self, pictures: Source | Iterable[Source], *, invert: Invert = "auto") -> Iterator[Number]:
        """Return the numbers on pictures, one after the other; one that cannot be read comes with its `error`.

        Args:
            pictures: As in `predict_many`.
            invert: As in `predict`.

        Raises:
            UsageError: As in `predict_many`, and for samples.
        """
        from backprop_cli.api.number import predict_numbers

        return predict_numbers(self.predictor, pictures, invert)

    # ---- pictures as the network sees them -------------------------------------------------------------------------

    def predict_proba(self, grids: NDArray[Any]) -> NDArray[Any]:
        """Return the probabilities of every class, (n, n_classes).

        Args:
            grids: What the network itself sees, in the data's own counts from 0 to full ink (16 for the digits),
                (n, height, width) or (n, height * width).

        Raises:
            ArgumentError: Another shape or range; `predict` takes pictures as a person sees them.
            ModelFileError: The model's numbers are so large that no answer comes of them.
        """
        from backprop_cli.api.prediction import predict_proba

        return predict_proba(self.predictor, grids)

    # ---- what it is worth, and why it says what it says ------------------------------------------------------------

    def evaluate(
        self, split: Part = "test", *, data: Reference | None = None, n_worst: int = 5, diagnose: bool = False
    ) -> Evaluation:
        """Return how good its answers are.

        Args:
            split: Which part of its own data: `train`, `validation` or `test`.
            data: Other data instead, all of it: what `data.source` may be.
            n_worst: How many of the worst answers to name, at most 10,000.
            diagnose: Also say what went wrong in its training.

        Raises:
            ArgumentError: It was trained without that part, or reads something else than the other data.
            ConfigError: Its config is not one of this version.
            DataError: The data is gone, or no longer what it was.
            RunDirectoryError: To diagnose, but the model stands in no run.
        """
        from backprop_cli.api.evaluation import evaluate

        return evaluate(self, split, data=data, n_worst=n_worst, diagnose=diagnose)

    def explain(
        self,
        picture: Source,
        *,
        label: str | None = None,
        learning_rates: Sequence[float] | None = None,
        top: int = 3,
        invert: Invert = "auto",
    ) -> Explanation:
        """Follow one picture through guess, loss, blame and correction.

        Args:
            picture: As in `predict`.
            label: The class that it shows; None: known for samples, else its own guess.
            learning_rates: Of the corrections, 1 to 20, each above 0; None: the largest of a ladder that harms nothing.
            top: How many weights of each layer to name, and units, 1 to 10,000.
            invert: As in `predict`.

        Raises:
            PictureError: It cannot be read, or is blank.
            ArgumentError: There is no such class, or a learning rate is not above 0.
            ConfigError: Its config is not one of this version.
            UsageError: There is no such sample, or the array is not a picture.
        """
        from backprop_cli.api.explanation import explain

        return explain(self, picture, label=label, learning_rates=learning_rates, top=top, invert=invert)


def load(reference: Reference | None = None, *, or_pretrained: bool = False) -> Model:
    """Return a model.

    Args:
        reference: A run's directory or its name under `runs/`, a model file, `latest`, which None means too, or
            `pretrained`, the model that travels in the package. A path is always a file or a directory.
        or_pretrained: Fall back to that one where nothing has been trained yet.

    Raises:
        ModelFileError: There is none, or its file is damaged, hostile or of a newer version.
    """
    return Model.load(reference, or_pretrained=or_pretrained)
