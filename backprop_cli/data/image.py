"""Any picture file -> gray, safely, and on to its ink.

    file -> decode -> gray, 0 black .. 1 white -> ink.py -> ink, 0 ground .. 1 drawn -> normalize.py

Pillow is imported only when a file is read, so that work on arrays does without it.
"""

import errno
import io
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from backprop_cli.arrays import Float32Array
from backprop_cli.data.ink import LEAST_CONTRAST, Ink, Invert, ink_of
from backprop_cli.data.other_files import description_of, is_heic
from backprop_cli.data.quiet import hush_pillow, libtiff_hushed
from backprop_cli.errors import PictureError, reason_of
from backprop_cli.files import read_bounded, why_no_file

if TYPE_CHECKING:
    from PIL.Image import Image


FORMATS = ("PNG", "JPEG", "PPM", "GIF", "BMP", "TIFF", "WEBP", "AVIF")
"""Pillow's names of the formats that are read, in the order tried: the last three load all its readers first."""

SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif", ".heic", ".heif"),
    *(".pgm", ".ppm", ".pbm", ".pnm"),
}
"""What the names of pictures in a folder end in."""

_LITTER = {
    *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir"),
    *("$recycle.bin", "system volume information", "__pycache__"),
}

MAX_BYTES = 50_000_000
"""Largest file that is read."""

MAX_PIXELS = 100_000_000
"""Largest picture that is decoded, width x height."""

MAX_COPIED_PIXELS = 50_000_000
"""The same for WebP, TIFF, AVIF and HEIC, whose decoders hold up to 16 bytes a pixel at a time."""

MAX_TEXT = 5_000_000
"""Bytes of a PNM whose pixels are written out as text: Pillow reads them number by number."""

MAX_PIECES = 500_000
"""Times that Pillow may ask for bytes of one picture: it walks along chunks, markers and runs in Python."""

MAX_SCANS = 50
"""Scans of a JPEG, each of which goes over the whole picture; progressive ones have about ten."""

MANY_PIXELS = 25_000_000
"""Pixels from which a decoded picture is thinned out before anything else."""

LONG_SIDE = 320
"""Pixels to which the longer side of a large picture shrinks: enough for one digit, quick to work on."""

SHORT_SIDE = 96
"""Pixels to which the shorter side of a small picture grows, so that outlines are smooth."""

_decoding = threading.Lock()  # Pillow decodes a picture when first asked, and two threads may ask
_COPYING = ("TIFF", "WEBP", "AVIF", "HEIC")
_COMMENT = re.compile(rb"#[^\r\n]*")
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")  # of a JPEG, those that a length follows, and the end
_MAX_MARKERS = 10_000
_KNOWN = "expected PNG, JPEG, BMP, GIF, TIFF, WebP, AVIF, HEIC or PNM"
_NO_HEIC = "HEIC, as iPhones write it; pip install 'backprop-cli[heif]' reads it, or save it as JPEG or PNG"


def read_picture(source: "Path | bytes | Image", *, invert: Invert = "auto", where: str | None = None) -> Ink:
    """Read one picture and return its ink.

    Args:
        source: A file, the content of one (as it comes from standard input), or a picture of Pillow's, left as it is.
        invert: "no" for dark ink on a light background, "yes" for light on dark, "auto" to find out.
        where: What messages call it; None: the file's path, or -.

    Returns:
        The ink, and what speaks against its being one digit.

    Raises:
        PictureError: If the picture cannot be read, or is blank.
    """
    where = where_of(source) if where is None else where
    gray = decode(source, where)
    with as_picture_errors(where):
        return ink_of(gray, invert)


def decode(
    source: "Path | bytes | Image", where: str | None = None, *, as_it_is: tuple[int, int] | None = None
) -> Float32Array:
    """Read one picture and return it in gray, of a size to work on; safe in threads, as it changes no global state.

    So what Pillow warns of is left to the filters of the program around it (where they make an error of a warning, the
    picture is refused), and libtiff may print what it finds damaged; in a process of our own, `quiet.py` drops both.

    Args:
        source: A file, the content of one (as it comes from standard input), or a picture of Pillow's, left as it is.
        where: What messages call it; None: the file's path, or -.
        as_it_is: Height and width of pictures that keep their size.

    Returns:
        Gray levels from 0 (black) to 1 (white), (height, width), the longer side at most 320.

    Raises:
        PictureError: If the file cannot be read, is too large, no picture, damaged, animated or of several pages.
    """
    where = where_of(source) if where is None else where
    hush_pillow()
    with _opened(source, where) as image:
        try:
            levels = _gray_levels(image, as_it_is)
        except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
            raise PictureError(f"{where}: damaged picture ({reason_of(error)}); save it again") from None
    if not np.isfinite(levels).all():
        raise PictureError(f"{where}: some pixels are not finite numbers; save it as PNG")
    return levels


@contextmanager
def as_picture_errors(where: str) -> Iterator[None]:
    """Put a picture's name in front of what work on its gray levels complains of."""
    try:
        yield
    except PictureError as error:
        raise PictureError(f"{where}: {error}") from None


def is_litter(name: str) -> bool:
    """Return whether a name in a folder is one of those that systems leave about, which nobody means."""
    return name.startswith(".") or name.lower() in _LITTER


def is_named_as_picture(name: str) -> bool:
    """Return whether a name in a folder is that of a picture, by its ending."""
    return not is_litter(name) and Path(name).suffix.lower() in SUFFIXES


def where_of(source: "Path | bytes | Image") -> str:
    """Return what messages call a picture where nobody has said: a file's path, or -."""
    return str(source) if isinstance(source, Path) else "-"


def _file_content(path: Path, where: str) -> bytes:
    try:
        return read_bounded(path, MAX_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise PictureError(too_large(where)) from None
        if isinstance(error, FileNotFoundError) and (why := why_no_file(str(path), "save the picture to a file")):
            raise PictureError(f"{where}: {why}") from None
        reason = "not a regular file" if isinstance(error, IsADirectoryError) else error.strerror
        raise PictureError(f"{where}: {reason}; give a picture file") from None


def too_large(where: str) -> str:
    """Return what is said of a file of more than 50 MB."""
    return f"{where}: larger than 50 MB; save the picture smaller"


def _opened(source: "Path | bytes | Image", where: str) -> "Image":
    """Return a picture of which the header is read; what is too large or has several pictures is refused."""
    if isinstance(source, Path | bytes):
        content = source if isinstance(source, bytes) else _file_content(source, where)
        if len(content) > MAX_BYTES:
            raise PictureError(too_large(where))
        return _header_read(content, where)
    if source.width * source.height > MAX_PIXELS:
        raise PictureError(_too_many_pixels(where))
    try:
        if _has_several_pictures(source):
            raise PictureError(_several(where))
        with _decoding:
            return source.copy()  # decoded: what follows changes it
    except PictureError:
        raise
    except Exception as error:  # as above
        raise PictureError(f"{where}: damaged picture ({reason_of(error)}); {_KNOWN}") from None


def _too_many_pixels(where: str) -> str:
    return f"{where}: more than 100 megapixels; save the picture smaller"


def _several(where: str) -> str:
    return f"{where}: animated or of several pages; save one of its pictures by itself"


def _header_read(content: bytes, where: str) -> "Image":
    from PIL import Image, UnidentifiedImageError

    if is_heic(content):
        return _heic(content, where)
    if content[:2] in (b"P1", b"P2", b"P3"):
        if len(content) > MAX_TEXT:
            raise PictureError(f"{where}: larger than 5 MB, as text; save it as PNG")
        content = _COMMENT.sub(b"", content)  # Pillow takes time that grows with the square of their number
    try:
        image = Image.open(_Pieces(content), formats=FORMATS)
        n_pixels = image.width * image.height
        several = n_pixels <= MAX_PIXELS and _has_several_pictures(image)
    except UnidentifiedImageError:
        kind = "not a picture, or a damaged one" if content else "empty file"
        raise PictureError(f"{where}: {description_of(content) or f'{kind}; {_KNOWN}'}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # a warning where the host makes it an error
        raise PictureError(_too_many_pixels(where)) from None
    except Exception as error:  # as above
        raise PictureError(f"{where}: damaged picture ({reason_of(error)}); {_KNOWN}") from None
    _check_size(n_pixels, image.format, where)
    if image.format in ("JPEG", "MPO") and _n_scans(content) > MAX_SCANS:
        raise PictureError(f"{where}: a JPEG of more than {MAX_SCANS} scans; save it again")
    if several:
        raise PictureError(_several(where))
    return image


def _check_size(n_pixels: int, kind: str | None, where: str) -> None:
    if n_pixels > MAX_PIXELS:
        raise PictureError(_too_many_pixels(where))
    if n_pixels > MAX_COPIED_PIXELS and kind in _COPYING:
        raise PictureError(f"{where}: more than 50 megapixels, as {kind}; save it smaller, or as PNG")


def _heic(content: bytes, where: str) -> "Image":
    """Return the main picture of a HEIC file, decoded and upright: what EXIF says of its turns is done, and taken out.

    libheif holds what it decodes to the size that it told before.
    """
    try:
        from pillow_heif import open_heif
    except ImportError:
        raise PictureError(f"{where}: {_NO_HEIC}") from None
    try:
        found = open_heif(io.BytesIO(content))
        width, height = found.size
        _check_size(width * height, "HEIC", where)
        picture: Image = found.to_pillow()
    except PictureError:
        raise
    except Exception as error:  # as above
        raise PictureError(f"{where}: damaged picture ({reason_of(error)}); save it again") from None
    return picture


class _Pieces(io.BytesIO):
    """The content of a picture, for as long as Pillow does not ask for too many pieces of it."""

    n_pieces = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.n_pieces += 1
        if self.n_pieces > MAX_PIECES:
            raise ValueError(f"more than {MAX_PIECES:,} pieces")
        return super().read(size)


def _n_scans(content: bytes) -> int:
    """Return the number of scans of a JPEG, walking from marker to marker to its end; of too many markers, too many.

    Source: ITU T.81, annex B.
    """
    n_scans, position = 0, 2
    for _ in range(_MAX_MARKERS):
        match = _MARKER.search(content, position)
        if match is None or match[1] == b"\xd9":
            return n_scans
        n_scans += match[1] == b"\xda"
        position = match.end() + int.from_bytes(content[match.end() : match.end() + 2], "big")
    return MAX_SCANS + 1


def _has_several_pictures(image: "Image") -> bool:
    """Tell animations and multi-page files; the second picture of a phone's photo (MPO) is only a preview."""
    return image.format != "MPO" and bool(getattr(image, "is_animated", False))


def _gray_levels(image: "Image", as_it_is: tuple[int, int] | None) -> Float32Array:
    """Decode, turn, scale and turn to gray in [0, 1] (non-finite where a float picture is), (height, width)."""
    from PIL import ImageOps

    image.draft(image.mode, (LONG_SIDE, LONG_SIDE))  # large JPEGs are decoded at 1/2 .. 1/8
    with libtiff_hushed() if image.format == "TIFF" else nullcontext():
        image.load()
    with suppress(Exception):  # damaged EXIF data: the picture is read as it lies
        ImageOps.exif_transpose(image, in_place=True)
    image = _thinned(image)
    if image.mode.startswith(("I", "F")):
        return _scaled_numbers(image, as_it_is)
    transparent = image.has_transparency_data
    mode = "RGBA" if transparent else "L" if image.mode in ("1", "L") else "RGB"
    pixels = np.asarray(_resized(image if image.mode == mode else image.convert(mode), as_it_is), dtype=np.float32)
    channels = pixels.reshape(*pixels.shape[:2], -1) / np.float32(255)  # (height, width, 1, 3 or 4)
    return _best_gray(_on_ground(channels) if transparent else channels)


def _thinned(image: "Image") -> "Image":
    """Take every second (third, ...) pixel of a huge picture: what follows makes copies, of up to 4 bytes a pixel."""
    from PIL import Image

    step = math.ceil(math.sqrt(image.width * image.height / MANY_PIXELS))
    if step == 1:
        return image
    return image.resize((-(-image.width // step), -(-image.height // step)), Image.Resampling.NEAREST)


def _resized(image: "Image", as_it_is: tuple[int, int] | None) -> "Image":
    """Bring the longer side to at most 320 and the shorter to at least 96 if the longer allows it."""
    from PIL import Image

    long, short = max(image.size), min(image.size)
    factor = min(LONG_SIDE / long, max(1.0, SHORT_SIDE / short))
    if factor == 1 or as_it_is == (image.height, image.width):
        return image
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _scaled_numbers(image: "Image", as_it_is: tuple[int, int] | None) -> Float32Array:
    """Scale 16-bit, 32-bit and float pictures: the smallest usual range that holds all pixels becomes 0..1."""
    image = image.convert("F")
    low, high = (float(level) for level in cast("tuple[float, float]", image.getextrema()))
    low = min(low, 0.0)
    top = next((top for top in (1.0, 255.0, 65535.0) if high <= top), high)
    numbers = np.asarray(_resized(image, as_it_is), dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite then is refused
        levels: Float32Array = np.clip((numbers - np.float32(low)) / np.float32(top - low), 0, 1)
    return levels


def _on_ground(channels: Float32Array) -> Float32Array:
    """Lay a transparent picture, RGBA in [0, 1], over white or black and return RGB.

    Strokes on nothing need a ground they contrast with; a picture that is mostly opaque brings its own ground,
    which is continued, unless nothing would show then.
    """
    colors, alpha = channels[:, :, :3], channels[:, :, 3:]
    mean_alpha = float(alpha.mean(dtype=np.float64))
    brightness = float((colors * alpha).mean(dtype=np.float64)) / max(mean_alpha, 1e-6)
    is_strokes = mean_alpha < 0.5
    ground = np.float32((brightness < 0.5) == is_strokes)
    laid: Float32Array = colors * alpha + ground * (1 - alpha)
    if np.ptp(laid) < LEAST_CONTRAST:
        laid = colors * alpha + (1 - ground) * (1 - alpha)
    return laid


def _best_gray(channels: Float32Array) -> Float32Array:
    """Return the brightness, or the one color channel that shows far more than brightness does."""
    if channels.shape[2] == 1:
        return channels[:, :, 0]
    red, green, blue = np.moveaxis(channels, 2, 0).astype(np.float64)
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue  # not by BLAS: its last bit varies
    gray: Float32Array = brightness.astype(np.float32)
    ranges = np.ptp(channels, axis=(0, 1))
    if ranges.max() > 2 * np.ptp(gray):  # yellow on white, red on a green of the same brightness
        return channels[:, :, int(ranges.argmax())]
    return gray
