"""Tests of backprop_cli.data.image: real files of every kind, and hostile ones."""

import csv
import io
import logging
import os
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from backprop_cli.data import image as image_module
from backprop_cli.data.image import decode, read_picture
from backprop_cli.data.normalize import bitmap, normalize
from backprop_cli.errors import PictureError

SAMPLES = Path(__file__).resolve().parents[2] / "data" / "samples"
SIDE = 200


def drawn_digit() -> Image.Image:
    """Draw a four, off the middle, dark on light."""
    ink = bitmap(load_digits().images[4:5])[0]
    large = Image.fromarray((255 * ink).astype(np.uint8)).resize((112, 120), Image.Resampling.BICUBIC)
    picture = Image.new("L", (SIDE, SIDE), 255)
    picture.paste(0, (60, 40), large)
    return picture


DIGIT = drawn_digit()
COUNTS = normalize(1 - np.asarray(DIGIT, np.float32)[None] / 255)[0]


def sixteen_bit(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)


def transparent(picture: Image.Image, ink: tuple[int, int, int]) -> Image.Image:
    result = Image.new("RGBA", picture.size, (*ink, 0))
    result.putalpha(picture.point(lambda level: 255 - level))
    return result


def colored(picture: Image.Image, ink: str, ground: str) -> Image.Image:
    result = Image.new("RGB", picture.size, ground)
    result.paste(Image.new("RGB", picture.size, ink), mask=picture.point(lambda level: 255 - level))
    return result


def inverted(picture: Image.Image) -> Image.Image:
    return picture.point(lambda level: 255 - level)


def content_of(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def mean_difference(source: Path | bytes) -> float:
    return float(np.abs(normalize(read_picture(source).levels[None])[0] - COUNTS).mean())


VARIANTS: dict[str, Callable[[], bytes]] = {
    "gray png": lambda: content_of(DIGIT),
    "rgb png": lambda: content_of(DIGIT.convert("RGB")),
    "1-bit png": lambda: content_of(DIGIT.convert("1", dither=Image.Dither.NONE)),
    "palette png": lambda: content_of(colored(DIGIT, "navy", "ivory").quantize(8)),
    "16-bit png": lambda: content_of(sixteen_bit(DIGIT)),
    "16-bit tiff": lambda: content_of(sixteen_bit(DIGIT), "TIFF"),
    "16-bit pgm": lambda: content_of(sixteen_bit(DIGIT), "PPM"),
    "float tiff 0..1": lambda: content_of(Image.fromarray(np.asarray(DIGIT, np.float32) / 255), "TIFF"),
    "float tiff 0..255": lambda: content_of(DIGIT.convert("F"), "TIFF"),
    "float tiff below 0": lambda: content_of(Image.fromarray(np.asarray(DIGIT, np.float32) / 255 - 1), "TIFF"),
    "32-bit tiff": lambda: content_of(DIGIT.convert("I"), "TIFF"),
    "lab tiff": lambda: content_of(lab(DIGIT), "TIFF"),
    "lzw tiff": lambda: content_of(DIGIT, "TIFF", compression="tiff_lzw"),
    "cmyk jpeg": lambda: content_of(DIGIT.convert("CMYK"), "JPEG"),
    "gray jpeg": lambda: content_of(DIGIT, "JPEG", quality=60),
    "gif": lambda: content_of(DIGIT, "GIF"),
    "bmp": lambda: content_of(DIGIT, "BMP"),
    "webp": lambda: content_of(DIGIT.convert("RGB"), "WEBP"),
    "avif": lambda: content_of(DIGIT.convert("RGB"), "AVIF"),
    "ppm": lambda: content_of(DIGIT.convert("RGB"), "PPM"),
    "pbm": lambda: content_of(DIGIT.convert("1", dither=Image.Dither.NONE), "PPM"),
    "black on nothing": lambda: content_of(transparent(DIGIT, (0, 0, 0))),
    "white on nothing": lambda: content_of(transparent(DIGIT, (255, 255, 255))),
    "gray and alpha": lambda: content_of(transparent(DIGIT, (90, 90, 90)).convert("LA")),
    "transparent gif": lambda: content_of(DIGIT.quantize(2), "GIF", transparency=0),
    "cut out of a white gif": lambda: content_of(DIGIT.quantize(2), "GIF", transparency=1),
    "transparent gray png": lambda: content_of(DIGIT, transparency=255),
    "opaque with clear corners": lambda: content_of(rounded(DIGIT.convert("RGBA"))),
    "white on black": lambda: content_of(inverted(DIGIT)),
    "white on black, transparent corners": lambda: content_of(rounded(inverted(DIGIT).convert("RGBA"))),
    "yellow on white": lambda: content_of(colored(DIGIT, "#ffff30", "white")),
    "red on a green as bright": lambda: content_of(colored(DIGIT, "#ff0000", "#008200")),
    "gray on gray": lambda: content_of(colored(DIGIT, "#707070", "#909090")),
    "huge": lambda: content_of(DIGIT.resize((2000, 2000), Image.Resampling.BICUBIC), "JPEG"),
    "small": lambda: content_of(DIGIT.resize((70, 70), Image.Resampling.BICUBIC)),
}


def lab(picture: Image.Image) -> Image.Image:
    middle = Image.new("L", picture.size, 128)
    return Image.merge("LAB", (picture, middle, middle))


def rounded(picture: Image.Image) -> Image.Image:
    alpha = np.full((SIDE, SIDE), 255, np.uint8)
    alpha[:25, :25] = alpha[-25:, :25] = 0
    picture.putalpha(Image.fromarray(alpha))
    return picture


@pytest.mark.parametrize("name", VARIANTS)
def test_every_kind_of_file_reads_the_same_digit(name: str) -> None:
    assert np.abs(np.roll(COUNTS, 1, axis=1) - COUNTS).mean() > 3  # one column aside would show
    assert mean_difference(VARIANTS[name]()) < 0.7


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_exif_turns_are_undone(orientation: int, kind: str) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[274] = orientation
    turned = DIGIT.transpose(undo[orientation]) if orientation in undo else DIGIT
    assert mean_difference(content_of(turned, kind, exif=exif)) < 0.7


def test_a_path_reads_like_its_content(tmp_path: Path) -> None:
    path = tmp_path / "vier [bold].png"
    DIGIT.save(path)
    assert np.array_equal(decode(path), decode(path.read_bytes()))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((28, 28), (96, 96)),
        ((2000, 1000), (160, 320)),
        ((200, 150), (150, 200)),
        ((10, 5000), (320, 1)),
        ((1, 1), (96, 96)),
    ],
)
def test_pictures_come_to_a_size_to_work_on(size: tuple[int, int], expected: tuple[int, int]) -> None:
    gray = decode(content_of(Image.new("L", size, 200)))
    assert gray.shape == expected
    assert gray.dtype == np.float32
    assert np.allclose(gray, 200 / 255)


@pytest.mark.parametrize("level", [0, 100, 255])
def test_blank_pictures_are_refused(tmp_path: Path, level: int) -> None:
    path = tmp_path / "empty.png"
    levels = np.full((50, 50), level, np.uint8)
    levels[20:30, 20:30] = min(level + 1, 254)
    Image.fromarray(levels).save(path)
    with pytest.raises(PictureError) as caught:
        read_picture(path)
    assert str(caught.value).startswith(f"{path}: blank: no ink found; ")


def test_faint_ink_of_enough_contrast_is_found() -> None:
    assert mean_difference(content_of(colored(DIGIT, "#e4e4e4", "#f4f4f4"))) < 0.7


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of_claimed_size(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    content = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", content) + png_chunk(b"IEND", b"")


def several(kind: str) -> bytes:
    return content_of(DIGIT, kind, save_all=True, append_images=[DIGIT.rotate(90), DIGIT.rotate(180)])


def not_finite(value: float) -> bytes:
    levels = np.asarray(DIGIT, np.float32) / 255
    levels[3, 5] = value
    return content_of(Image.fromarray(levels), "TIFF")


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "empty file"),
    "text": (lambda: b"digits: 4\n" * 100, "not a picture"),
    "postscript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    "ico": (lambda: content_of(DIGIT, "ICO"), "not a picture"),
    "header of 10,000 megapixels": (lambda: png_of_claimed_size(100_000, 100_000), "more than 100 megapixels"),
    "header of 101 megapixels": (lambda: png_of_claimed_size(10_100, 10_000), "more than 100 megapixels"),
    "header of 95 megapixels": (lambda: png_of_claimed_size(9_500, 10_000), "damaged picture"),
    "animated gif": (lambda: several("GIF"), "animated or of several pages"),
    "animated png": (lambda: several("PNG"), "animated or of several pages"),
    "animated webp": (lambda: several("WEBP"), "animated or of several pages"),
    "animated avif": (lambda: several("AVIF"), "animated or of several pages"),
    "multi-page tiff": (lambda: several("TIFF"), "animated or of several pages"),
    "nan": (lambda: not_finite(float("nan")), "not finite"),
    "inf": (lambda: not_finite(float("inf")), "not finite"),
    "-inf": (lambda: not_finite(float("-inf")), "not finite"),
    "51 MB": (lambda: content_of(DIGIT) + bytes(51_000_000), "larger than 50 MB"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    make, problem = HOSTILE[name]
    path = tmp_path / "picture.png"
    path.write_bytes(make())
    for source, where in ((path, str(path)), (path.read_bytes(), "-")):
        with pytest.raises(PictureError) as caught:
            decode(source)
        message = str(caught.value)
        assert message.startswith(f"{where}: ")
        assert problem in message
        assert "; " in message
        assert "\n" not in message


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "PPM"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_truncated_files_are_refused(kind: str, share: float) -> None:
    content = content_of(DIGIT, kind)
    with pytest.raises(PictureError, match=r"^-: .*(damaged|not a picture).*; "):
        decode(content[: int(len(content) * share)])


@settings(max_examples=150)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]), st.data())
def test_damaged_files_never_escape_as_anything_else(kind: str, data: st.DataObject) -> None:
    content = bytearray(content_of(DIGIT.reduce(4), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, min(len(content), 400) - 1))] = data.draw(st.integers(0, 255))
    with suppress(PictureError):
        assert np.isfinite(read_picture(bytes(content)).levels).all()


@pytest.mark.parametrize("name", ["missing.png", "folder", "null\0.png", "n" * 300])
def test_files_that_cannot_be_read_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    path = tmp_path / name
    with pytest.raises(PictureError) as caught:
        decode(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith("; give a picture file")


def test_pipes_and_devices_are_refused_without_waiting(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(PictureError, match="not a regular file"):
            decode(path)


def test_no_file_descriptor_stays_open(tmp_path: Path) -> None:
    def n_open() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    picture = tmp_path / "digit.png"
    DIGIT.save(picture)
    decode(picture)
    before = n_open()
    for path in (picture, tmp_path, tmp_path / "missing"):
        for _ in range(5):
            with suppress(PictureError):
                decode(path)
    assert n_open() == before


def test_pictures_of_a_phone_with_a_preview_are_read() -> None:
    content = content_of(DIGIT.convert("RGB"), "MPO", save_all=True, append_images=[DIGIT.convert("RGB").reduce(4)])
    assert mean_difference(content) < 0.7


def odd_tiffs() -> list[bytes]:
    """Return TIFFs of each packing, and damaged ones of which libtiff, or Pillow, has something to say."""
    kinds = ("raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "group4")
    good = [content_of(DIGIT.reduce(4).convert("1" if k == "group4" else "L"), "TIFF", compression=k) for k in kinds]
    odd = [content[:place] + b"\xff" + content[place + 1 :] for content in good for place in range(40, 480, 44)]
    in_color = content_of(DIGIT.reduce(4).convert("RGB"), "TIFF")
    many_samples = in_color.replace(struct.pack("<HHLH", 277, 3, 1, 3), struct.pack("<HHLH", 277, 3, 1, 60_000))
    assert many_samples != in_color
    return [*good, *odd, many_samples]


def reading(content: bytes) -> bytes | str:
    """Return the gray levels of a picture, or why there are none."""
    try:
        return decode(content).tobytes()
    except PictureError as error:
        return str(error)


def read_by_threads(contents: list[bytes]) -> set[tuple[bytes | str, ...]]:
    """Return what eight threads make of all of them; one answer is what is wanted."""
    with ThreadPoolExecutor(8) as threads:
        return set(threads.map(lambda _: tuple(map(reading, contents)), range(8)))


def state_of_others() -> tuple[object, ...]:
    """Return what other code depends on: where standard error leads, filters of warnings, handlers of a logger."""
    stderr = os.fstat(2)
    return stderr.st_dev, stderr.st_ino, list(warnings.filters), list(logging.getLogger("PIL").handlers)


def test_threads_read_what_one_reads_and_no_global_state_is_changed() -> None:
    contents = odd_tiffs()
    before = state_of_others()
    expected = tuple(map(reading, contents))
    assert {type(answer) for answer in expected} == {bytes, str}
    assert read_by_threads(contents) == {expected}
    assert state_of_others() == before


OUR_OWN = """
import logging, os, sys, warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from backprop_cli.data.image import decode
from backprop_cli.data.quiet import claim_process
from backprop_cli.errors import PictureError

def reading(path):
    try:
        return decode(path).tobytes()
    except PictureError as error:
        return str(error)

def state():
    return os.fstat(2).st_ino, len(warnings.filters), len(logging.getLogger("PIL").handlers)

claim_process()
paths, (stderr, n_filters, n_handlers) = sorted(Path(sys.argv[1]).iterdir()), state()
expected = [*map(reading, paths)]
with ThreadPoolExecutor(8) as threads:
    assert [*threads.map(reading, paths)] == expected
assert state() == (stderr, n_filters + 1, n_handlers + 1)
print("still here", file=sys.stderr)
"""


def test_a_process_of_our_own_says_nothing_of_odd_pictures_and_keeps_its_stderr(tmp_path: Path) -> None:
    for number, content in enumerate(odd_tiffs()):
        (tmp_path / f"{number}.tif").write_bytes(content)
    command = [sys.executable, "-W", "error", "-c", OUR_OWN, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("still here\n", 0)


def test_a_picture_that_pillow_warns_of_is_refused_only_where_warnings_are_errors() -> None:
    content = odd_tiffs()[5]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        decode(content)
    assert {str(warning.message) for warning in told} == {"Tag data larger than file. Skipping tag 258"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PictureError, match=r"damaged picture \(Tag data larger than file"):
            decode(content)


def test_large_photos_are_reduced_while_they_are_decoded() -> None:
    content = content_of(DIGIT.resize((4000, 3000)).convert("RGB"), "JPEG")
    assert decode(content).shape == (240, 320)


def test_samples_are_what_their_labels_say() -> None:
    with (SAMPLES / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 24
    assert {row["file"] for row in rows} == {path.name for path in SAMPLES.iterdir() if path.suffix in (".png", ".jpg")}
    images: NDArray[np.float64] = load_digits().images
    distances = []
    for row in rows:
        number = int(row["row"])
        assert 1415 <= number < 1797
        assert load_digits().target[number] == int(row["label"])
        counts = normalize(read_picture(SAMPLES / row["file"]).levels[None])[0]
        distances.append(float(np.abs(images[number] - counts).mean()))
    assert max(distances) < 2.5
    assert np.mean(distances) < 1.2  # 3.9 for a random other row


def test_clean_pictures_do_without_scipy_and_random_numbers() -> None:
    code = (
        "import sys; from pathlib import Path; from backprop_cli.data.image import read_picture\n"
        "from backprop_cli.data.normalize import normalize\n"
        "assert 'PIL' not in sys.modules\n"
        f"normalize(read_picture(Path({str(SAMPLES / '0-1415.png')!r})).levels[None])\n"
        "print([name for name in ('scipy', 'sklearn', 'numpy.random', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_jpeg_of_many_scans_is_refused_and_what_only_looks_like_one_is_read() -> None:
    content = content_of(drawn_digit(), "JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    with pytest.raises(PictureError, match="a JPEG of more than 50 scans"):
        read_picture(content[:start] + content[start:-2] * 60 + content[-2:])
    comment = b"\xff\xfe\0\x04\xff\xd9"  # holds what ends a picture
    with pytest.raises(PictureError, match="a JPEG of more than 50 scans"):
        read_picture(content[:start] + (comment + content[start:-2]) * 60 + content[-2:])
    thumbnail = b"\xff\xe1" + (2 + 200).to_bytes(2, "big") + b"\xff\xda" * 100
    expected = read_picture(content).levels
    for same in (
        content[:2] + thumbnail + content[2:],
        content + b"\xff\xda" * 1000,
    ):  # within a segment, after the end
        assert np.array_equal(read_picture(same).levels, expected)


def test_a_picture_of_too_many_pieces_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = png_of_claimed_size(40, 40)
    many = content[:33] + png_chunk(b"abCd", b"") * 1000 + content[33:]
    monkeypatch.setattr(image_module, "MAX_PIECES", 1000)
    with pytest.raises(PictureError, match=r"damaged picture \(more than 1,000 pieces\)"):
        read_picture(many)


def test_a_pnm_in_text_is_read_with_its_comments_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.asarray(drawn_digit().convert("L"))
    rows = "\n".join(" ".join(map(str, row)) + " # a row" for row in pixels)
    text = f"P2 # a digit\n#\n{pixels.shape[1]} {pixels.shape[0]}\n255\n{rows}\n".encode()
    expected = read_picture(content_of(drawn_digit().convert("L"), "PPM")).levels
    assert np.array_equal(read_picture(text).levels, expected)
    monkeypatch.setattr(image_module, "MAX_TEXT", len(text) - 1)
    with pytest.raises(PictureError, match="larger than 5 MB, as text"):
        read_picture(text)


def test_limits_are_as_documented() -> None:
    assert image_module.MAX_BYTES == 50_000_000
    assert image_module.MAX_PIXELS == 100_000_000
