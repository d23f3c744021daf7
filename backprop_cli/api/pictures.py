"""A picture enters here: whatever a person gives becomes what a model's network sees."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeGuard

import numpy as np
from numpy.typing import NDArray

from backprop_cli.api.arguments import choice
from backprop_cli.arrays import Array
from backprop_cli.errors import ArgumentError, PictureError, UsageError, listed
from backprop_cli.files import read_stdin, shipped

if TYPE_CHECKING:
    from PIL.Image import Image

    from backprop_cli.data.digit_row import Found
    from backprop_cli.data.ink import Invert
    from backprop_cli.predictor import Predictor

    Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image | NDArray[Any]
    """A file's path, `digits:555` (a sample of the digits data set), `samples:4` (a picture in the package), `-`
    (standard input), the content of a file, a file that is open, a picture of Pillow's, or an array as a person would
    see it: uint8 or from 0 to 1, (height, width) gray or (height, width, 3) RGB, with a fourth channel transparent.
    """

SAMPLES = "digits:"
PICTURES = "samples:"
TABLES = (".npz", ".npy", ".csv", ".tsv", ".libsvm", ".svmlight", ".tra", ".tes", ".zip")  # what their names end in
INVERT = ("auto", "yes", "no")
MAX_NAMED = 3  # files that are left out
_NUMBER = re.compile(r"[0-9]{1,9}")  # of a row


@dataclass(frozen=True, eq=False)
class PictureInput:
    """One picture on its way: what the network sees of it, or what kept it from being read.

    Attributes:
        name: As given; `bytes`, `picture` or `array` where that has none.
        grid: What the network sees, (height, width), ink high, from 0 to the model's `max_value`; None with an error.
        max_value: Full ink in `grid`.
        ink: What was found on the picture, (any height, any width), ink high, in [0, 1]; None for samples.
        label: The index of its class, where that is known.
        warnings: What speaks against its being one digit, in words.
        error: Why there is no grid.
    """

    name: str
    grid: Array | None = None
    max_value: float = 1.0
    ink: Array | None = None
    label: int | None = None
    warnings: tuple[str, ...] = ()
    error: str | None = None

    @property
    def pixels(self) -> Array:
        """What the network sees, (height, width), ink from 0 to 1."""
        if self.grid is None:
            raise PictureError(self.error or "no picture")
        return self.grid / self.max_value


def picture_input(source: Source, predictor: Predictor, invert: Invert = "auto") -> PictureInput:
    """Return what a model's network sees of one picture; what cannot be read comes back with its error.

    Args:
        source: See `Source`.
        predictor: The model.
        invert: "no" for dark ink on a light background, "yes" for light on dark, "auto" to find out.

    Raises:
        UsageError: There is no such sample, no standard input, or an array is not a picture.
    """
    name = name_of(source)
    choice("invert", invert, INVERT)
    if isinstance(source, str) and name.startswith(SAMPLES):
        return _sample(name, predictor)
    if isinstance(source, str) and (place := row_place(name)) is not None:
        from backprop_cli.api.tables import one_row

        seen, label = one_row(predictor, *place)
        return PictureInput(name, seen, predictor.scaling.max_value, label=label)
    from backprop_cli.data.image import read_picture

    try:
        content = _content(_sample_picture(name) if name.startswith(PICTURES) else source, predictor)
        if (row := _row_as_it_is(content, name, predictor, invert)) is not None:
            return PictureInput(name, row * predictor.scaling.max_value, predictor.scaling.max_value, row)
        ink = read_picture(content, where=name, invert=invert)
    except PictureError as problem:
        return PictureInput(name, error=str(problem))
    grid = _grids([ink.levels], predictor)[0]
    return PictureInput(name, grid, predictor.scaling.max_value, ink.levels, warnings=ink.warnings)


def _sample_picture(name: str) -> Path:
    """Return the picture file that travels in the package for a digit, such as `samples:4`.

    Raises:
        UsageError: There is none.
    """
    digit = name.removeprefix(PICTURES)
    if digit not in tuple("0123456789"):
        raise UsageError(f"{name}: the samples are samples:0 to samples:9")
    return min(shipped("samples", "data/samples").glob(f"{digit}-*.*"))


def number_inputs(
    source: Source, predictor: Predictor, invert: Invert = "auto"
) -> tuple[list[PictureInput], Sequence[Found]]:
    """Return what a model's network sees of each digit on one picture, from left to right, and where it stands.

    Args:
        source: See `Source`; no sample.
        predictor: The model.
        invert: As above.

    Raises:
        PictureError: The picture cannot be read, or is blank.
        UsageError: It is a sample, there is no standard input, or an array is not a picture.
    """
    from backprop_cli.data.digit_row import digits_in_row

    name = name_of(source)
    choice("invert", invert, INVERT)
    if isinstance(source, str) and name.startswith(SAMPLES):
        raise UsageError(f"{name}: a number is read from a picture; the samples hold one digit each")
    found = digits_in_row(_content(source, predictor), invert, where=name)
    grids = _grids([one.levels for one in found], predictor)
    full = predictor.scaling.max_value
    return [PictureInput(name, grid, full, one.levels) for grid, one in zip(grids, found, strict=True)], found


def name_of(source: Source) -> str:
    """Return what messages call a picture."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return "bytes"
    return "array" if isinstance(source, np.ndarray) else "picture"


def expanded(sources: Any) -> Iterator[Source]:
    """Return pictures one by one: those of a folder, sorted, in its place.

    Args:
        sources: One of them, or several: anything that is not a picture itself is iterated over, an iterator as far as
            it is asked.

    Raises:
        UsageError: A folder holds no pictures; said at once, unless it comes from an iterator.
    """
    if isinstance(sources, Iterator) and not hasattr(sources, "read"):
        return (one for source in sources for one in _inside(source))
    single = (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray)
    is_one = isinstance(sources, single) or not isinstance(sources, Iterable) or _is_picture(sources)
    return iter([one for source in ([sources] if is_one else sources) for one in _inside(source)])


def _inside(source: Source) -> list[Any]:
    """Return the pictures of a folder, and what is none as it is."""
    if not _is_folder_of_pictures(source):
        return [source]
    found, others = _sorted_out(Path(source))
    if not found:
        from backprop_cli.data.image import SUFFIXES

        problem = f"{source}: no pictures in this folder (it may hold {', '.join(sorted(SUFFIXES))})"
        raise UsageError("; ".join([problem, *_told(others)]))
    return found


def left_out(sources: Iterable[Source]) -> list[str]:
    """Return of each folder among sources, in a line, which of its files are not pictures; of others nothing."""
    folders = [Path(source) for source in sources if _is_folder_of_pictures(source)]
    return [f"{folder}: {told}" for folder in folders for told in _told(_sorted_out(folder)[1])]


def _is_folder_of_pictures(source: Source) -> TypeGuard[str | os.PathLike[str]]:
    if not isinstance(source, str | os.PathLike) or source in ("-", ""):
        return False
    return _is_folder(Path(source)) and not is_table(source)


def _sorted_out(folder: Path) -> tuple[list[str], list[str]]:
    """Return the pictures of a folder, of one without any those in its inner folders, and the names of other files.

    What systems leave about is neither.
    """
    from backprop_cli.data.image import is_named_as_picture

    inner, files = _entries(folder)
    if not any(is_named_as_picture(path.name) for path in files):
        files += [path for one in inner for path in _entries(one)[1]]
    pictures, others = [], []
    for path in files:
        if is_named_as_picture(path.name):
            pictures.append(str(path))
        else:
            others.append(str(path.relative_to(folder)))
    return pictures, others


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders and the files in a folder by their names, without what systems leave about."""
    from backprop_cli.data.image import is_litter

    folders: list[Path] = []
    files: list[Path] = []
    for path in sorted(folder.iterdir()):
        if not is_litter(path.name):
            (folders if path.is_dir() else files).append(path)
    return folders, files


def _told(names: Sequence[str]) -> list[str]:
    """Return in a line which files are left out, the first ones by name; nothing where there are none."""
    if not names:
        return []
    named = [f"{name} ({kind})" if (kind := Path(name).suffix[1:].upper()) else name for name in names[:MAX_NAMED]]
    return [f"{len(names):,} file{'s' * (len(names) > 1)} left out: {listed(named, len(names))}"]


def row_place(name: str) -> tuple[str, int] | None:
    """Return the table and the number in a row's name, such as `train.csv:17`; None for the name of anything else.

    Raises:
        UsageError: It is a table's name with something else than a number behind it, or with nothing.
    """
    table, colon, number = name.rpartition(":")
    if is_table(name):
        raise UsageError(f"{name}: a table; name one of its rows, such as {name}:0")
    if not colon or not is_table(table) or _exists(Path(name)):
        return None
    if not _NUMBER.fullmatch(number):
        raise UsageError(f"{name}: rows are counted from 0, such as {table}:0")
    return table, int(number)


def is_table(source: str | os.PathLike[str]) -> bool:
    """Return whether a path is a table of rows: by its name, or a folder with `images.npy`."""
    name = os.fspath(source)
    if not isinstance(name, str) or name.startswith(SAMPLES) or "\0" in name:
        return False
    lower = name.lower()
    if "idx3" in lower and ":" in name and not _exists(Path(name)):  # the name of a row
        return False
    files = (lower, lower.rpartition("#")[0])  # of what stands before the part of a file
    is_called_so = any(file.removesuffix(".gz").endswith(TABLES) for file in files)
    is_called_so = is_called_so or "idx3" in lower or lower.startswith("openml:")
    if not is_called_so and not _is_folder(Path(name)):
        return False  # nearly always: the readers are not even imported
    from backprop_cli.data.sources import is_table as is_one

    return is_one(name)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # no file's name: said when it is read as one, beside the answers to the others
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _is_picture(source: Any) -> bool:
    """Return whether something that is neither a path, a content nor an array is one picture."""
    return hasattr(source, "read") or hasattr(source, "__array__") or _is_pillows(source)


def _is_pillows(source: Any) -> bool:
    pillow = sys.modules.get("PIL.Image")  # who has a picture of it has imported it
    return pillow is not None and isinstance(source, pillow.Image)


def _content(source: Source, predictor: Predictor) -> Any:
    """Return a file's path, its content, or a picture of Pillow's."""
    from backprop_cli.data.image import MAX_BYTES, too_large

    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str) and source == "-":
        try:
            return read_stdin(MAX_BYTES)
        except OSError as error:
            if error.errno == errno.EFBIG:
                raise PictureError(too_large("-")) from error
            raise UsageError(f"-: {error.strerror}") from error
    if isinstance(source, str | os.PathLike):
        return Path(source)
    if _is_pillows(source):
        return source
    if hasattr(source, "__array__"):
        from PIL import Image

        return Image.fromarray(_as_bytes(np.asarray(source), predictor))
    content = source.read(MAX_BYTES + 1) if hasattr(source, "read") else None
    if not isinstance(content, bytes):
        raise ArgumentError(f"{type(source).__name__}: expected a path, bytes, a Pillow image or an array")
    return content


def _as_bytes(array: NDArray[Any], predictor: Predictor) -> NDArray[np.uint8]:
    """Return an array as a person sees it, as bytes from 0 (black) to 255 (white).

    Raises:
        ArgumentError: Its shape or its values are not those of one picture.
    """
    other = "predict_proba takes what the network itself sees"
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape:
        raise ArgumentError(
            f"array of shape {array.shape}: one picture is (height, width), or with 3 or 4 channels; {other}"
        )
    if array.dtype.kind not in "buif":
        raise ArgumentError(f"array of {array.dtype}: a picture is uint8, or from 0 to 1; {other}")
    low, high = float(array.min()), float(array.max())
    if array.dtype == np.uint8:
        if array.shape == predictor.picture_size and 1 < high <= predictor.scaling.max_value < 255:
            raise ArgumentError(f"array of {array.shape} up to {high:g}: too dark for a picture; {other}")
        levels = array
    elif 0.0 <= low <= high <= 1.0:
        levels = np.round(np.asarray(array, np.float64) * 255.0).astype(np.uint8)
    else:
        raise ArgumentError(
            f"array of {array.dtype} from {low:g} to {high:g}: a picture is uint8, or from 0 to 1; {other}"
        )
    return np.ascontiguousarray(levels[:, :, 0] if array.ndim == 3 and channels == 1 else levels)


def _grids(inks: Sequence[Array], predictor: Predictor) -> Array:
    """Return ink, each (height, width) of any size, as the network sees it, (n, height, width)."""
    return np.asarray(predictor.form.seen(inks) * predictor.scaling.max_value)


def _row_as_it_is(content: Any, name: str, predictor: Predictor, invert: Invert) -> Array | None:
    """Return a picture that lies as the rows did that a network was trained on, from 0 to 1; None for any other."""
    layout = predictor.form.layout
    if layout is None:
        return None
    from backprop_cli.data.arrangement import has_dark_ink
    from backprop_cli.data.image import decode

    gray = decode(content, name, as_it_is=predictor.picture_size)
    if gray.shape != predictor.picture_size:
        return None
    is_dark = has_dark_ink(gray[None]) if invert == "auto" else invert == "no"
    row = 1.0 - gray if is_dark else gray
    return row if layout.holds(row) else None


def _sample(name: str, predictor: Predictor) -> PictureInput:
    """Return a sample of the digits data set, and what it is."""
    from backprop_cli.data.dataset import load_digits
    from backprop_cli.data.normalize import FULL_COUNT, bitmap
    from backprop_cli.data.resize import resized

    digits = load_digits()
    number = name.removeprefix(SAMPLES)
    if not number.isdecimal() or not number.isascii() or len(number) > 9 or int(number) >= len(digits):
        raise UsageError(f"{name}: samples are counted from 0 to {len(digits) - 1}, such as digits:555")
    if predictor.classes != digits.classes:
        raise UsageError(f"{name}: the digits are 0 to 9, and this model reads something else")
    row, full, form = int(number), predictor.scaling.max_value, predictor.form
    one = replace(digits, pictures=digits.pictures[row : row + 1])
    seen: Array
    if form.layout is None:
        seen = resized(one, form.picture, form.slant).pictures / np.float32(FULL_COUNT)
    else:
        seen = form.seen([ink.astype(np.float32) for ink in bitmap(one.pictures)])
    return PictureInput(name, seen[0] * full, full, label=int(digits.labels[row]))
