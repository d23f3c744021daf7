"""Files made to take much time or memory: each kept some version of this program, or would have, busy for long."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from mutations import Case, encoded, npy, zipped
from PIL import Image
from signing import body_of, header_of, sign

sys.path.append(str(Path(__file__).parents[1] / "data"))  # outside pytest nobody else has done it

from test_odd_files import FILES, chunk, png, zeros

LARGE = 9_990, 10_000
MANY = 48_000_000  # bytes: nearly the largest file that is read


def bombs(kind: str) -> Iterator[Case]:
    """Yield the bombs of a kind."""
    for make in BOMBS.get(kind, {}).values():
        yield make()


def repeated(part: bytes, n_bytes: int = MANY) -> bytes:
    return part * (n_bytes // len(part))


def with_size(content: bytes, at: int, form: str, size: tuple[int, int]) -> bytes:
    return content[:at] + struct.pack(form, *size) + content[at + struct.calcsize(form) :]


def run_lengths(runs: bytes) -> bytes:
    """Return a BMP of 100 megapixels packed by run lengths."""
    head = with_size(encoded(Image.new("P", (40, 40)), "BMP")[: 14 + 40 + 1024], 18, "<ii", (10_000, 10_000))
    return with_size(head, 30, "<I", (1,)) + runs  # type: ignore[arg-type]


def after_start(content: bytes, more: bytes) -> bytes:
    """Return a JPEG with more behind its first marker."""
    return content[:2] + more + content[2:]


def scans(mode: str, n: int, *, hidden: bool = False) -> bytes:
    """Return a progressive JPEG of 100 megapixels whose last scan comes many times.

    Args:
        mode: Pillow's name of its colors.
        n: How often.
        hidden: A comment between the scans holds what ends a picture.
    """
    content = encoded(Image.new(mode, LARGE), "JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    comment = b"\xff\xfe\0\x04\xff\xd9" if hidden else b""
    return content[:start] + (comment + content[start:-2]) * n + b"\xff\xd9"


def tiff(bits: int, samples: int, packed: bytes, rows: int = LARGE[1]) -> bytes:
    """Return a TIFF of one strip packed with deflate."""
    columns, body = LARGE[0], bytearray(b"II*\0\0\0\0\0") + packed + b"\0" * (len(packed) % 2)
    tags = {256: [columns], 257: [rows], 258: [bits] * samples, 259: [8], 262: [2], 273: [8], 277: [samples]}
    tags |= {278: [rows], 279: [len(packed)], 338: [2]}
    entries = []
    for tag, values in sorted(tags.items()):
        value = struct.pack(f"<{len(values)}I", *values)
        if len(value) > 4:
            body += value
            value = struct.pack("<I", len(body) - len(value))
        entries.append(struct.pack("<HHI", tag, 4, len(values)) + value)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return bytes(body[:4]) + struct.pack("<I", len(body)) + bytes(body[8:]) + directory


def pixels(n: int) -> int:
    return LARGE[0] * LARGE[1] * n


def gif(more: bytes) -> bytes:
    content = encoded(Image.new("P", (10, 10)), "GIF")
    at = content.rindex(b",\0\0\0\0")
    return content[:at] + more + content[at:]


GRAY = Image.new("L", (40, 40))
SMALL = zeros(41 * 40)

PICTURES: dict[str, Callable[[], bytes]] = {
    "numbers.ppm": lambda: b"P2 5000 4999 255\n" + repeated(b"1 "),
    "bits.ppm": lambda: b"P1 9000 5000\n" + repeated(b"1"),
    "comments.ppm": lambda: b"P2 5000 4999 255\n" + repeated(b"#\n", 4_900_000),
    "header.ppm": lambda: b"P5 " + repeated(b"#"),
    "headers.ppm": lambda: b"P6 " + repeated(b"#\n"),
    "moves.bmp": lambda: run_lengths(repeated(b"\0\2\0\0")),
    "runs.bmp": lambda: run_lengths(repeated(b"\1\1")),
    "lossless.webp": lambda: encoded(Image.new("RGBA", LARGE, "white"), "WEBP", lossless=True, quality=0, method=0),
    "scans.jpg": lambda: scans("L", 5_000),
    "cmyk-scans.jpg": lambda: scans("CMYK", 48),
    "hidden-scans.jpg": lambda: scans("L", 5_000, hidden=True),
    "fill.jpg": lambda: after_start(encoded(GRAY, "JPEG"), repeated(b"\xff")),
    "markers.jpg": lambda: after_start(encoded(GRAY, "JPEG"), repeated(b"\xff\xe1\0\2")),
    "comments.jpg": lambda: after_start(encoded(GRAY, "JPEG"), repeated(b"\xff\xfe\0\3a")),
    "chunks.png": lambda: png(40, 40, 8, 0, SMALL, repeated(chunk(b"abCd", b""))),
    "texts.png": lambda: png(40, 40, 8, 0, SMALL, repeated(chunk(b"tEXt", b"a\0b"))),
    "parts.png": lambda: png(40, 40, 8, 0, SMALL[:1], repeated(chunk(b"IDAT", b""))),
    "deep.png": lambda: png(*LARGE, 16, 6, zeros(LARGE[1] * (1 + 8 * LARGE[0]))),
    "turned.png": lambda: encoded(Image.new("RGBA", LARGE, "white"), "PNG", exif=turned(), compress_level=1),
    "extensions.gif": lambda: gif(repeated(b"\x21\xfe\0")),
    "parts.gif": lambda: gif(b"\x21\xfe" + repeated(b"\1a") + b"\0"),
    "large.gif": lambda: encoded(Image.new("P", LARGE), "GIF"),
    "strip.tif": lambda: tiff(16, 4, zeros(pixels(8))),
    "half-strip.tif": lambda: tiff(16, 4, zeros(pixels(4)), rows=LARGE[1] // 2),
    "lies.tif": lambda: tiff(8, 4, zeros(1_000)),
    **{name: make for name, (make, _) in FILES.items()},
}


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


def nearly_sound_model() -> bytes:
    """Return a model of the most parameters, the last of which is not a number."""
    from campaign import saved

    units = (50_000_000 - 2) // (784 + 3)
    content = saved((28, 28), (units,), ("0", "1"))
    return sign(header_of(content), body_of(content)[:-4] + np.float32(np.nan).tobytes())


def wide_header() -> bytes:
    entry = ',"{}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    text = '{"__metadata__":{"backprop":"{\\"sha256\\":\\"' + "0" * 64 + '\\"}"}'
    return sign(text + "".join(entry.format(k) for k in range(16_000)) + "}", b"")


def deep_header() -> bytes:
    digits = '{"__metadata__":{"backprop":"{\\"sha256\\":\\"' + "0" * 64 + '\\"}"}'
    return sign(digits + ',"x":' + '{"x":' * 150_000 + "1" + "}" * 150_001, b"")


MODELS: dict[str, Callable[[], bytes]] = {
    "nearly-sound": nearly_sound_model,
    "zeros": lambda: bytes(256 * 2**20),
    "wide-header": wide_header,
    "deep-header": deep_header,
}

MEGABYTE = 2**20
CONFIGS: dict[str, Callable[[], bytes]] = {
    "layers": lambda: b"network: {layers: [" + repeated(b"{units: 3},", MEGABYTE - 50) + b"]}",
    "numbers": lambda: b"seed: [" + repeated(b"1,", MEGABYTE - 50) + b"]",
    "keys": lambda: b"".join(b"k%d: 1\n" % k for k in range(100_000)),
    "keys-below-the-limit": lambda: b"".join(b"see%d: 1\n" % k for k in range(4_990)),
    "one-text": lambda: b"name: " + b"x" * (MEGABYTE - 50),
    "escapes": lambda: b'name: "' + repeated(b"\\x41", MEGABYTE - 50) + b'"',
    "long-key": lambda: b"? " + b"x" * (MEGABYTE - 50) + b"\n: 1",
    "comments": lambda: repeated(b"#\n", MEGABYTE),
    "lines": lambda: repeated(b"\n", MEGABYTE),
    "folded": lambda: b"name: x" + repeated(b"\n  x", MEGABYTE - 50),
    "brackets": lambda: repeated(b"[", MEGABYTE),
    "braces": lambda: repeated(b"{a: ", MEGABYTE),
    "dashes": lambda: repeated(b"- ", MEGABYTE),
    "questions": lambda: repeated(b"? ", MEGABYTE),
    "aliases": lambda: b"a: &a [x]\n" + b"".join(b"b%d: [*a,*a,*a]\n" % k for k in range(9)),
    "merges": lambda: b"<<: {a: 1}\n" + repeated(b"<<: {a: 1}\n", MEGABYTE - 50),
    "layers-at-the-limit": lambda: b"network: {layers: [" + b"{units: 65536}," * 64 + b"]}",
    "too-large": lambda: bytes(100_000_000),
}


def gz(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(content) + packer.flush()


def csv_bomb() -> bytes:
    """Return 2 GB of one character, packed."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(b"1" * 2**20) for _ in range(2_048)), packer.flush()])


def lying_zip() -> bytes:
    """Return an npz whose directory says of an array that it unpacks to 3 GB."""
    content = bytearray(zipped({"images.npy": npy(np.zeros((2, 4, 4)), shape=(25_165_824, 4, 4))}, 8))
    at = content.rindex(b"PK\1\2")
    content[at + 24 : at + 28] = struct.pack("<I", 3 * 2**30)
    return bytes(content)


DATA: dict[str, Callable[[], Case]] = {
    "line": lambda: {"line.csv.gz": csv_bomb()},
    "shape": lambda: {"shape.npz": zipped({"images.npy": npy(np.zeros(4), shape=(2**31, 2**31, 4))}, 8)},
    "lying": lambda: {"lying.npz": lying_zip()},
    "header": lambda: {"header.npz": zipped({"images.npy": long_header()}, 8)},
    "nested": lambda: {"nested.npz": zipped({"images.npy": zipped({"images.npy": npy(np.zeros(4))}, 8)}, 8)},
    "objects": lambda: {"objects.npz": zipped({"images.npy": npy(np.zeros(4), descr="|O")}, 8)},
    "members": lambda: {"members.npz": zipped({str(k): b"" for k in range(60_000)}, 0)},
    "claims": lambda: {"images-idx3.gz": gz(struct.pack(">4BIII", 0, 0, 8, 3, 2**14, 2**9, 2**9) + bytes(10**7))},
    "folder": lambda: {"many/0/a.png": b""} | {f"many/{k % 7}/{k}.png": b"" for k in range(5_000)},
    "cells": lambda: {"cells.csv": (b"," * (2**24 - 2) + b"\n") * 4},
    "blank-lines": lambda: {"blank.csv": b"1,2\n" + b"\n" * 10**7},
    "words": lambda: {"words.csv": ("é" * (2**24 - 2) + "\n").encode() * 2},
    "comments": lambda: {"comments.csv": b"# a\n" * 10**6},
    "indices": lambda: {"indices.libsvm": b"1 65536:0.5\n2 65536:1\n" * 10_000},
    "pairs": lambda: {"pairs.libsvm": (b"1 " + b"1:1 " * (2**22 - 2) + b"\n") * 3},
    "bzip2": lambda: {"bzip2.npz": zipped({"images.npy": bytes(2**30)}, 12)},
    "bzip2-table": lambda: {"bzip2.zip": zipped({"a.csv": bytes(2**28)}, 12)},
    "zip-line": lambda: {"line.zip": zipped({"a.csv": bytes(2**28)}, 8)},
    "zip-in-zip": lambda: {"zip.zip": zipped({"a.npz": zipped({"images.npy": bytes(2**28)}, 8)}, 8)},
    "entries": lambda: {"entries.zip": entries(f"{k % 10}/{k}.png" for k in range(900_000))},
    "deep-entries": lambda: {"deep.zip": entries(f"{k}{'/a' * 18}/b.png" for k in range(60_000))},
    "one-picture": lambda: {"flat.zip": entries(f"{k % 10}_{k}.png" for k in range(5_000))},
    "flat": lambda: {f"flat/{k % 10}_{k}.png": b"" for k in range(5_000)},
    "one-label": lambda: {"one.npz": zipped({"X.npy": npy(np.zeros((9, 4, 4))), "y.npy": npy(np.array(3))}, 8)},
    "dimensions": lambda: {"many.npz": zipped({"a.npy": npy(np.zeros(9), shape=(9,) + (1,) * 2_500)}, 8)},
    "mapped": lambda: {"mapped/images.npy": npy(np.zeros(4), shape=(2**40, 8, 8)), "mapped/labels.npy": b""},
}


def entries(names: Iterable[str]) -> bytes:
    """Return a zip that is nothing but a directory."""
    fields = struct.pack("<HHHHHHIII", 20, 20, 0, 0, 0, 33, 0, 0, 0)
    directory = b"".join(
        b"PK\1\2" + fields + struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, 0) + name.encode() for name in names
    )
    return directory + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0, 0, len(directory), 0, 0)


def long_header() -> bytes:
    buffer = io.BytesIO()
    text = "{'descr': '<f8', 'shape': (" + "1," * 10**6 + "), 'fortran_order': False}"
    buffer.write(b"\x93NUMPY\2\0" + struct.pack("<I", len(text)) + text.encode())
    return buffer.getvalue()


BOMBS: dict[str, dict[str, Callable[[], Case]]] = {
    "picture": {name: (lambda name=name, make=make: {name: make()}) for name, make in PICTURES.items()},
    "model": {name: (lambda make=make: {"model.safetensors": make()}) for name, make in MODELS.items()},
    "checkpoint": {name: (lambda make=make: {"checkpoint.safetensors": make()}) for name, make in MODELS.items()},
    "config": {name: (lambda make=make: {"config.yaml": make()}) for name, make in CONFIGS.items()},
    "data": DATA,
}
