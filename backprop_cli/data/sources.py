"""Where labeled pictures come from: scikit-learn's digits, a file, a folder, or openml.org."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from backprop_cli.data.arrangement import (
    Arrangement,
    Invert,
    Judge,
    are_own_counts,
    arrangement_of,
    as_it_is,
    as_own_counts,
    even_rows,
    is_of_digits,
    renamed,
)
from backprop_cli.data.augment import Warps
from backprop_cli.data.copies import Copies
from backprop_cli.data.dataset import Dataset
from backprop_cli.data.extra import Extra
from backprop_cli.data.layout import Layout
from backprop_cli.data.normalize import FULL_COUNT, Slant
from backprop_cli.data.readers.shared import LEAST_INK, Header, ProgressCallback, Wanted, parted
from backprop_cli.data.resize import resized
from backprop_cli.data.splits import SplitKind, Splits, split
from backprop_cli.errors import DataError, quoted, require
from backprop_cli.files import is_address, why_no_file

MAX_LOOKED_AT = 1_000_000  # rows, for what speaks against each
LEAST_SIDE, MOST_SIDE = 4, 64  # pixels, of what a network sees
READERS = {  # a file in `readers/` -> what a source of its form is called; asked in this order
    "digits": "digits",
    "pens": "pens",
    "openml": "openml:NAME",
    "npz": "FILE.npz",
    "npy": "FILE.npy",
    "csv_file": "FILE.csv or another table",
    "zip_file": "FILE.zip",
    "idx": "an idx3 file of images",
    "array_folder": "a folder",
    "refused": "",
    "other_table": "",
    "picture_folder": "a folder",
}


@dataclass(frozen=True)
class DataSettings:
    """What is trained on, and how it is split, scaled and augmented.

    Attributes:
        source: `digits`; FILE.npz with `images` (n, height, width), `labels` (n,) and perhaps `groups` (n,); a folder
            with `images.npy` and `labels.npy` (and `groups.npy`), of any size: the pictures stay on the disk; a folder
            with one folder of pictures for each class; FILE.csv or FILE.csv.gz, each row a label and the pixels of a
            square picture; MNIST's `train-images-idx3-ubyte` or `.gz`, the labels beside it; or `openml:NAME`, such as
            `openml:mnist_784`.
        test_source: The same, for a test part of its own; null: the test part is split off `source`.
        split: `writers` (whole writers, the last ones for test), `stratified` or `ordered`; null: `writers` where it
            is known who wrote what, `ordered` for MNIST of openml.org, whose last rows are its test, else `stratified`.
        split_seed: Of `stratified`: the split belongs to the data, `seed` to the training. 0 to 2^32 - 1.
        validation_size: Share of all rows, in [0, 1); 0: none, and the last epoch is kept.
        test_size: Share of all rows, in [0, 1); 0: none.
        scaling: `centered`: (x / max - mean per pixel) / one global sd; `unit`: x / max.
        max_value: What full ink is, 1e-9 to 1e9; null: the data set's own (16 for digits), else the end of the usual
            range that holds the values (1, 16, 255 or 65,535), or the largest of them.
        picture: What the network sees, such as `8x8` or `16x16`: every picture is cropped, straightened and counted in
            blocks, as the digits were (which themselves reach other sizes by deconvolution); counts from 0 to 16 of
            this size are taken as they are. `raw`: arrays stay as they are, and the model keeps how their ink lies.
            null: arrays of digits are counted at their own size, others stay as they are; picture files become 8x8.
        invert: Of arrays: `yes` for dark ink on a light background, `no` for light ink on dark, `auto` to find out.
        transpose: Of arrays: whether rows are columns, as in EMNIST; null: found out for digits, else they are not.
        classes: Names of the classes, in their order, or a mapping from label to name, such as `{10: "0"}`; null: the
            labels are the names.
        label: Of tables: the name of the label's column, `first` or `last`; of pictures that lie in no folders of
            classes: which word of their names; null: found out.
        header: Of tables: whether the first row names the columns.
        skip_bad: Leave out bad rows and unreadable pictures instead of refusing the run.
        extra: Further sources that only training sees; a bare name stands for its source.
        augment: `kind: warps`, drawn afresh each epoch, or `kind: copies`, made once; null: the digits as they are.
    """

    source: str = "digits"
    test_source: str | None = None
    split: SplitKind | None = None
    split_seed: int = 0
    validation_size: float = 0.1
    test_size: float = 0.2
    scaling: Literal["centered", "unit"] = "centered"
    max_value: float | None = None
    picture: str | None = None
    invert: Invert = "auto"
    transpose: bool | None = None
    classes: tuple[str, ...] | dict[str, str] | None = None
    label: str | None = None
    header: Header = "auto"
    skip_bad: bool = False
    extra: tuple[Extra, ...] = ()
    augment: Annotated[Warps | Copies, Field(discriminator="kind")] | None = None

    def __post_init__(self) -> None:
        val, test, full = self.validation_size, self.test_size, self.max_value or 1.0
        shape = self.picture_shape or (8, 8)
        left = "test_size: together with validation_size it leaves nothing to train on"
        require(
            *_usable("source", self.source),
            *_usable("test_source", self.test_source),
            (0.0 <= val < 1.0, f"validation_size: {val} is not in [0, 1)"),
            (0.0 <= test < 1.0, f"test_size: {test} is not in [0, 1)"),
            (not (val < 1.0 and test < 1.0) or val + test < 1.0, left),
            (0 <= self.split_seed < 2**32, f"split_seed: {self.split_seed} is not between 0 and 4,294,967,295"),
            (
                min(shape) >= LEAST_SIDE and max(shape) <= MOST_SIDE,
                f"picture: {quoted(self.picture)} is not HxW from 4x4 to 64x64, or raw",
            ),
            (
                self.picture_shape is not None or not isinstance(self.augment, Copies),
                "augment.kind: copies need data.picture",
            ),
            (
                isinstance(self.augment, Copies) or all(one.kinds == ("normalized",) for one in self.extra),
                "extra: other kinds than normalized need augment.kind: copies",
            ),
            (sum(one.share or 0.0 for one in self.extra) < 1.0, "extra: the shares leave nothing of data.source"),
            (
                self.max_value != 0 and LEAST_INK <= full <= 1e9,
                f"max_value: {self.max_value} is not between 1e-9 and 1e9",
            ),
        )

    @property
    def picture_shape(self) -> tuple[int, int] | None:
        """Rows and columns of `picture`, (0, 0) where that is not a size; None for pictures as they are."""
        if self.picture in (None, "raw"):
            return None
        sides = re.fullmatch(r"(\d{1,3})x(\d{1,3})", self.picture or "", re.ASCII)
        return (int(sides[1]), int(sides[2])) if sides else (0, 0)


def _usable(key: str, source: str | None) -> list[tuple[bool, str]]:
    """Return the rules that a source may be a file name."""
    return [
        (source != "", f"{key}: empty; expected digits, openml:NAME, a file or a folder"),
        ("\0" not in (source or ""), f"{key}: a file's name cannot hold a NUL character"),
    ]


def is_path(source: str) -> bool:
    """Return whether a source is a file or folder, not one with a name of its own."""
    return source not in ("", "digits", "pens") and not source.startswith("openml:") and not is_address(source)


def file_of(source: str) -> str:
    """Return the file or folder of a source: what stands before the `#` of a part of it."""
    return parted(source, (".npz", ".zip"))[0]


def load_data(settings: DataSettings, progress: ProgressCallback = None, judge: Judge | None = None) -> Dataset:
    """Return the data set of `data.source` in the form that the network sees.

    Args:
        settings: How to read it, and the size to bring it to.
        progress: Is told how many picture files of how many have been read.
        judge: Finds out whether digits lie transposed.

    Raises:
        DataError: There is no such source, or it is invalid; all bad rows are named, up to 10 of them.
    """
    slant: Slant | None = "moments" if isinstance(settings.augment, Copies) else None
    return load_like(settings.source, settings, settings.picture_shape, slant, progress=progress, judge=judge)


def load_test_data(
    settings: DataSettings, dataset: Dataset, progress: ProgressCallback = None, judge: Judge | None = None
) -> Dataset:
    """Return the data set of the test part, where it is a source of its own, in the form of `dataset`."""
    picture = None if dataset.is_raw else dataset.picture_size
    source = source_of_test(settings) or ""
    return load_like(source, settings, picture, dataset.slant, is_raw=dataset.is_raw, progress=progress, judge=judge)


@dataclass(frozen=True, eq=False)
class ExtraRows:
    """What a further source holds.

    Attributes:
        settings: How it is meant.
        dataset: Its rows in the form of the data set that they are trained on beside.
        own: Them in their own proportions; None where no kind of copies needs them.
    """

    settings: Extra
    dataset: Dataset
    own: Dataset | None


def load_extra(
    settings: DataSettings, dataset: Dataset, progress: ProgressCallback = None, judge: Judge | None = None
) -> tuple[ExtraRows, ...]:
    """Return the data sets of `data.extra`, brought to the form of `dataset`, which they are trained on beside."""
    picture = None if dataset.is_raw else dataset.picture_size
    found = []
    for one in settings.extra:
        plain = DataSettings(one.source, skip_bad=settings.skip_bad)
        load = partial(load_like, one.source, plain, one_class=True, progress=progress, judge=judge)
        like, own = load(picture, dataset.slant, is_raw=dataset.is_raw), None
        if one.kinds != ("normalized",):
            own = load(None, None, is_raw=True)
        found.append(ExtraRows(one, like, own))
    return tuple(found)


def load_like(
    source: str,
    settings: DataSettings,
    picture: tuple[int, int] | None,
    slant: Slant | None,
    *,
    is_raw: bool | None = None,
    layout: Layout | None = None,
    one_class: bool = False,
    progress: ProgressCallback = None,
    judge: Judge | None = None,
) -> Dataset:
    """Return the data set of a source in the form that a network sees.

    Args:
        source: As in `DataSettings`.
        settings: How its arrays are meant.
        picture: The size to bring it to; None: see `DataSettings.picture`.
        slant: How slanted digits are set upright; None: as the source has it.
        is_raw: Whether arrays stay as they are; None: as `settings` say, or as their classes want it.
        layout: How the ink of picture files is laid, for a network that sees rows as they are.
        one_class: Whether one class will do.
        progress: Is told how many picture files of how many have been read.
        judge: Finds out whether digits lie transposed.

    Raises:
        DataError: There is no such source, or it is invalid; all bad rows are named, up to 10 of them.
    """
    wanted = Wanted(
        picture or (8, 8),
        slant or "moments",
        settings.skip_bad,
        progress,
        layout,
        label=settings.label,
        header=settings.header,
        one_class=one_class,
    )
    found = as_own_counts(renamed(_read(source, wanted), settings.classes))
    is_own = found.max_value > 0 or are_own_counts(found.pictures)
    if is_own and not is_raw:
        if picture is None:
            return found
        came = found.arrangement or Arrangement(found.picture_size, 0.0, FULL_COUNT, is_usual=True)
        return replace(resized(found, picture, slant, progress=progress), arrangement=came)
    if found.max_value:
        return found
    if len(found) <= MAX_LOOKED_AT:
        found = replace(found, even_rows=np.flatnonzero(even_rows(found.pictures)))
    arrangement = arrangement_of(
        found, invert=settings.invert, transpose=settings.transpose, max_value=settings.max_value, judge=judge
    )
    if is_raw is None:
        is_raw = settings.picture == "raw" or (picture is None and not is_of_digits(found.classes))
    if is_raw:
        return as_it_is(found, arrangement)
    height, width = found.picture_size
    return resized(found, picture or (_side(height), _side(width)), slant, arrangement, progress)


TABLES = ("openml", "npz", "npy", "csv_file", "zip_file", "idx", "array_folder")  # readers of rows


def is_table(source: str) -> bool:
    """Return whether a source holds pictures as rows of numbers."""
    return any(import_module(f"backprop_cli.data.readers.{name}").matches(source) for name in TABLES)


def load_rows(source: str, settings: DataSettings) -> Dataset:
    """Return the good rows of a table as they are in it, with or without labels, which are not looked at.

    Raises:
        DataError: It is not there, or not what it should be.
    """
    wanted = Wanted(skip_bad=True, only_pictures=True, label=settings.label, header=settings.header)
    return as_own_counts(_read(source, wanted))


def load_labels(source: str, settings: DataSettings) -> Dataset:
    """Return the good rows of a table as they are, with their labels, called as the settings say.

    Raises:
        DataError: It has none, is not there, or not what it should be.
    """
    wanted = Wanted(skip_bad=True, label=settings.label, header=settings.header)
    return renamed(_read(source, wanted), settings.classes)


def _side(side: int) -> int:
    return min(max(side, LEAST_SIDE), MOST_SIDE)


def load_source(
    source: str,
    *,
    picture: tuple[int, int] | None = None,
    slant: Slant | None = None,
    skip_bad: bool = False,
    progress: ProgressCallback = None,
) -> Dataset:
    """Return the data set that `data.source` names, its pictures brought to size.

    Args:
        source: As in `DataSettings`.
        picture: Height and width; None: arrays stay as they are, picture files become 8x8.
        slant: How slanted digits are set upright; None: as the source has it.
        skip_bad: Leave out bad rows and unreadable pictures.
        progress: Is told how many picture files of how many have been read.

    Raises:
        DataError: There is no such source, or it is invalid; all bad rows are named, up to 10 of them.
    """
    found = _read(source, Wanted(picture or (8, 8), slant or "moments", skip_bad, progress))
    return found if picture is None else resized(found, picture, slant)


def _read(source: str, wanted: Wanted) -> Dataset:
    """Return a data set as its source has it."""
    if not source.startswith("openml:") and (why := why_no_file(source, "save the file, or use openml:NAME")):
        raise DataError(f"{source}: {why}")
    reader = _reader(source)
    if reader is None:
        forms = ", ".join(filter(None, dict.fromkeys(READERS.values())))
        missing = "" if Path(source).exists() else "; there is no such file or folder"
        raise DataError(f'data.source: "{source}" is not one of {forms}{missing}')
    dataset: Dataset = reader.load(source, wanted)
    if len(dataset.classes) == 1 and not wanted.one_class:
        raise DataError(f"{dataset.name}: 1 classes; expected 2 to 1,000")
    return dataset


def _reader(source: str) -> ModuleType | None:
    """Return the reader of a source: they are asked in turn, each imported when it is its turn."""
    for name in READERS:
        reader = import_module(f"backprop_cli.data.readers.{name}")
        if reader.matches(source):
            return reader
    return None


def source_of_test(settings: DataSettings) -> str | None:
    """Return where the test part comes from: as it was said, else what the source brings for it; None: split it off."""
    if settings.test_source is not None or not settings.test_size or not is_path(settings.source):
        return settings.test_source
    find = getattr(_reader(settings.source), "test_source", None)
    return None if find is None else find(settings.source)


def split_kind(dataset: Dataset, settings: DataSettings) -> SplitKind:
    """Return how a data set is split: as it was said, else by writers where they are known."""
    if settings.split is not None:
        return settings.split
    return "ordered" if dataset.has_test_last else "stratified" if dataset.groups is None else "writers"


def split_dataset(dataset: Dataset, settings: DataSettings) -> Splits:
    """Return the parts of `dataset`; with a test source of its own, all of it is training and validation."""
    return split(
        split_kind(dataset, settings),
        dataset.labels,
        dataset.groups,
        validation_size=settings.validation_size,
        test_size=0.0 if source_of_test(settings) else settings.test_size,
        seed=settings.split_seed,
    )
