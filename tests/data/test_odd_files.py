"""A folder of broken, hostile and odd files: `backprop predict FOLDER` has one clear line for each.

How long each may take, the fuzz campaign judges, to which they belong.
"""

import io
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import SAMPLES, parsed, process
from PIL import Image

DIGIT = Image.open(SAMPLES / "3-1418.png").convert("L").resize((120, 120))
FORMATS = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "bmp": "BMP", "tif": "TIFF", "webp": "WEBP", "pgm": "PPM"}


def content_of(picture: Image.Image = DIGIT, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def first_part(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int, colors: int, pixels: bytes, *between: bytes) -> bytes:
    """Return a PNG whose header may say anything about its packed pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colors, 0, 0, 0))
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *between, chunk(b"IDAT", pixels), chunk(b"IEND", b"")])


def zeros(n: int) -> bytes:
    """Return n packed zeros without having them all in memory."""
    packer = zlib.compressobj(1)  # of hundreds of megabytes
    whole, rest = divmod(n, 1_000_000)
    parts = [packer.compress(bytes(1_000_000)) for _ in range(whole)]
    return b"".join([*parts, packer.compress(bytes(rest)), packer.flush()])


def wrong_checksum() -> bytes:
    content = bytearray(content_of())
    content[content.index(b"IDAT") + 12] ^= 255
    return bytes(content)


def bmp_that_lies() -> bytes:
    content = bytearray(content_of(kind="BMP"))
    content[18:26] = struct.pack("<ii", 9_000, 9_000)
    return bytes(content)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("digit.png", content_of())
    return buffer.getvalue()


def float_tiff(*odd: float) -> bytes:
    levels = np.asarray(DIGIT, np.float32) / 255
    levels[0, : len(odd)] = odd
    return content_of(Image.fromarray(levels), "TIFF")


def lab() -> bytes:
    middle = Image.new("L", DIGIT.size, 128)
    return content_of(Image.merge("LAB", (DIGIT, middle, middle)), "TIFF")


def several(kind: str) -> bytes:
    return content_of(DIGIT, kind, save_all=True, append_images=[DIGIT.rotate(90), DIGIT.rotate(180)])


ANSWER = None
"""Stands for the message of a file that is read."""

FILES: dict[str, tuple[Callable[[], bytes], str | None]] = {
    **{
        f"truncated.{suffix}": ((lambda kind=kind: first_part(content_of(kind=kind))), "damaged")
        for suffix, kind in FORMATS.items()
    },
    "header-only.png": (lambda: content_of()[:33], "damaged"),
    "wrong-checksum.png": (wrong_checksum, "damaged"),
    "bomb.png": (lambda: png(60_000, 60_000, 1, 0, zeros(60_000 * 7501)), "more than 100 megapixels"),
    "white-95-megapixels.png": (lambda: png(9_500, 10_000, 1, 0, zeros(10_000 * 1189)), "blank"),
    "clear-95-megapixels.png": (lambda: png(9_500, 10_000, 8, 6, zeros(10_000 * 38_001)), "blank"),
    "more-than-it-says.png": (lambda: png(40, 40, 8, 0, zeros(30_000_000)), "blank"),
    "less-than-it-says.png": (lambda: png(4_000, 4_000, 8, 2, zeros(1_000)), "damaged"),
    "bomb-in-text.png": (lambda: png(9, 9, 8, 0, zeros(90), chunk(b"zTXt", b"a\0\0" + zeros(90_000_000))), "damaged"),
    "no-palette.png": (lambda: png(40, 40, 8, 3, zeros(40 * 41)), ""),
    "no-bits.png": (lambda: png(40, 40, 0, 0, zeros(40 * 41)), "damaged"),
    "no-width.png": (lambda: png(0, 40, 8, 0, zeros(40)), "damaged"),
    "bmp-that-lies.bmp": (bmp_that_lies, ""),
    "huge.pgm": (lambda: b"P5 90000 90000 255\n" + bytes(100), "more than 100 megapixels"),
    "negative.pgm": (lambda: b"P5 -3 4 255\n" + bytes(100), "damaged"),
    "words.pgm": (lambda: b"P2 2 2 255\none two three four\n", "damaged"),
    "text.png": (lambda: b"a digit: 4\n" * 50, "not a picture"),
    "page.jpg": (lambda: b"<!doctype html><html><body>404 not found</body></html>", "not a picture"),
    "drawing.png": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0L9 9"/></svg>', "not a picture"),
    "paper.png": (lambda: content_of(kind="PDF"), "not a picture"),
    "archive.png": (zipped, "not a picture"),
    "icon.png": (lambda: content_of(kind="ICO"), "not a picture"),
    "script.png": (lambda: b"#!/bin/sh\nexit 1\n", "not a picture"),
    "empty.png": (lambda: b"", "empty file"),
    "zeros.png": (lambda: bytes(5_000), "not a picture"),
    "1x1.png": (lambda: content_of(Image.new("L", (1, 1))), "blank"),
    "1x500.png": (lambda: content_of(DIGIT.crop((60, 0, 61, 120)).resize((1, 500))), ""),
    "500x1.png": (lambda: content_of(DIGIT.crop((0, 60, 120, 61)).resize((500, 1))), ""),
    "nan.tif": (lambda: float_tiff(float("nan")), "not finite"),
    "inf.tif": (lambda: float_tiff(float("inf"), float("-inf")), "not finite"),
    "float.tif": (float_tiff, ANSWER),
    "lab.tif": (lab, ANSWER),
    "ycbcr.tif": (lambda: content_of(DIGIT.convert("YCbCr"), "TIFF"), ANSWER),
    "pages.tif": (lambda: several("TIFF"), "several pages"),
    "animated.gif": (lambda: several("GIF"), "animated"),
    "animated.webp": (lambda: several("WEBP"), "animated"),
    "animated.png": (lambda: several("PNG"), "animated"),
    "exif-garbage.jpg": (lambda: content_of(kind="JPEG", exif=b"Exif\0\0" + bytes(range(200))), ANSWER),
    "trailing-garbage.jpg": (lambda: content_of(kind="JPEG") + b"garbage \xff\xd8" * 500, ANSWER),
    "trailing-garbage.png": (lambda: content_of() + bytes(5_000), ANSWER),
    "jpeg-named.png": (lambda: content_of(kind="JPEG"), ANSWER),
    "UPPER CASE.PNG": (content_of, ANSWER),
    "[red]\x1b[31m\n.png": (content_of, ANSWER),
}


def make_odd_files(folder: Path) -> dict[str, str | None]:
    """Write all files and what is not one; return what part of its message each should have, "" for either way."""
    for name, (make, _) in FILES.items():
        (folder / name).write_bytes(make())
    (folder / "folder.png").mkdir()  # subfolders of a folder are not looked into
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "nowhere.png").symlink_to(folder / "missing")
    os.mkfifo(folder / "pipe.png")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "secret.png").write_bytes(content_of())
    (folder / "secret.png").chmod(0)
    others = {"loop.png": "give a picture", "nowhere.png": "No such file", "pipe.png": "not a regular file"}
    others |= {"device.png": "not a regular file", "secret.png": "" if os.geteuid() == 0 else "Permission denied"}
    return {name: problem for name, (_, problem) in FILES.items()} | others


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str | None]]:
    folder = tmp_path_factory.mktemp("odd")
    return folder, make_odd_files(folder)


WITH_MEMORY = """
import os
from pathlib import Path
from backprop_cli.cli.app import main
leave = os._exit
def leave_and_tell(code):
    kilobytes = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    os.write(2, b"peak %d\\n" % (kilobytes // 1024))
    leave(code)
os._exit = leave_and_tell
main()
"""
"""Not `ru_maxrss`, which begins at the peak of the process that started this one: of pytest, whatever ran before."""


def test_each_odd_file_has_one_line(odd: tuple[Path, dict[str, str | None]], trained: Path) -> None:
    folder, expected = odd
    assert len(expected) >= 40
    done = process("predict", folder, "--json", cwd=trained)
    assert done.returncode == 1
    entries = {Path(entry["path"]).name: entry for entry in parsed(done.stdout.decode())["predictions"]}
    assert entries.keys() == expected.keys()
    for name, problem in expected.items():
        message = entries[name].get("error")
        if problem is ANSWER:
            assert message is None, message
        elif problem or message:
            assert message, name
            assert message.startswith(f"{folder / name}: ")
            assert problem in message, message
            assert message.count("; ") == 1 or "blank: " in message
            assert "\n" not in message.removeprefix(str(folder / name))


def test_odd_files_leave_no_traceback_and_little_memory(odd: tuple[Path, dict[str, str | None]], trained: Path) -> None:
    folder, expected = odd
    done = process("predict", folder, cwd=trained, program=(sys.executable, "-W", "error", "-c", WITH_MEMORY))
    lines = done.stderr.decode().splitlines()
    assert lines[-1].startswith("peak ")
    assert int(lines[-1].split()[1]) < 700  # MB; 95 megapixels of 4 bytes are decoded on the way
    assert all(line.startswith(("error: ", "warning: ", "model: ")) for line in lines[:-1]), lines
    n_errors = sum(line.startswith("error: ") for line in lines)
    assert n_errors + len(done.stdout.splitlines()) == len(expected)
