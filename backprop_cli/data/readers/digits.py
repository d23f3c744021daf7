"""The digits that come with scikit-learn."""

from backprop_cli.data.dataset import Dataset, load_digits
from backprop_cli.data.readers.shared import Wanted


def matches(source: str) -> bool:
    """Return whether a source is the digits."""
    return source == "digits"


def load(source: str, wanted: Wanted) -> Dataset:
    """Return the digits."""
    return load_digits()
