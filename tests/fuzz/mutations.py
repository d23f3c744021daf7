"""Damaged, odd and hostile files without end, each kind from a generator of its own; the same seed, the same files."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import yaml
from PIL import Image
from safetensors.numpy import save as save_tensors
from signing import body_of, header_of, sign

from backprop_cli.config.config import bundled_folder
from backprop_cli.config.schema import json_schema

SAMPLES = sorted(Path(__file__).parents[2].joinpath("data/samples").glob("*.[pj][np]g"))
Case = dict[str, "bytes | Callable[[Path], object]"]
"""File name -> its content, or what makes it there; the first one is what is read."""

TEXTS = [
    *("", "~", "null", "yes", "No", "on", "true", "nan", ".nan", ".inf", "-.inf", "1e999", "-1e999", "1e-999", "1e3"),
    *(
        "0",
        "-0",
        "-1",
        "1",
        "2",
        "0.5",
        ".5",
        "5.",
        "012",
        "0x1F",
        "0o17",
        "1_000",
        "12:30",
        "12:30:45.6",
        "2024-01-31",
    ),
    *("65536", "65537", "9" * 30, "9" * 500, "4294967296", "9223372036854775808", "1e308", "5e-324", "1e-400"),
    *(
        '"1"',
        "'1'",
        '"\\ud800"',
        '"\\UFFFFFFFF"',
        '"\\x00"',
        '"\\e[31m"',
        '"[bold red]x[/]"',
        "é",
        "\u202e",
        "😀",
        "\ufeff",
    ),
    *(
        "[]",
        "{}",
        "[[]]",
        "[1, 2]",
        "{a: 1}",
        "&a 1",
        "*a",
        "!!python/object/apply:os.system [ls]",
        "!x y",
        "<<",
        "? a",
    ),
    *(
        "|\n  text",
        ">-\n  text",
        "--- 1",
        "...",
        "%YAML 1.1",
        "- 1",
        "@",
        "`",
        "relu",
        "digits",
        "../../etc/passwd",
        "/",
    ),
    *(
        "x" * 300,
        "[" * 30,
        "{a: " * 30,
        "#",
        "'",
        '"',
        "mse",
        "adam",
        "cosine",
        "16x16",
        "999x999",
        "raw",
        "openml:x y",
    ),
]
NUMBERS = [0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        0.0,
        -0.5,
        1.5,
        1e308,
        5e-324,
        1e-30,
        2**31,
        2**53,
        2**63,
        2**64,
        10**39,
        -(10**38),
    ),
    *(65_536, 65_537, 1_024, 64, 1_000, 1_001, 50_000_000, "", "0", "relu", "nosuch", "mse", "\x1b[2J", "[red]x[/red]"),
    *("\u202e", "\ud800", "x" * 101, "x" * 5_000, "\n", "NaN", [], {}, [0], [1, 2], [[1]], {"a": 1}, {"name": "mse"}),
]


def forever(rng: random.Random, *makers: Callable[[random.Random], Case]) -> Iterator[Case]:
    while True:
        yield rng.choice(makers)(rng)


def damaged(rng: random.Random, content: bytes, other: bytes = b"") -> bytes:
    """Return bytes with one to four injuries."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1) if rng.random() < 0.6 else rng.randrange(min(len(data), 128) + 1)
        length = rng.choice((1, 2, 4, 16, 200))
        number = rng.choice(NUMBERS).to_bytes(rng.choice((4, 8)), rng.choice(("little", "big")))
        cut = rng.randrange(len(other) + 1)
        injuries: list[tuple[bytes, int]] = [  # what is put there, and in place of how many bytes
            (bytes([data[at] ^ 1 << rng.randrange(8)]) if at < len(data) else b"", 1),
            (rng.randbytes(length), length),
            (rng.randbytes(length), 0),
            (number, len(number)),
            (bytes(length), length),
            (b"\xff" * length, length),
            (b"", length),
            (b"", len(data)),
            (bytes(data[at : at + length]) * 2, length),
            (other[cut : cut + rng.choice((8, 100, 1000))], 0),
        ]
        new, n_old = rng.choice(injuries)
        data[at : at + n_old] = new
    return bytes(data)


def changed(rng: random.Random, value: Any) -> Any:
    """Return a JSON value with one thing in it replaced, renamed, left out or added."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key, how = rng.choice(list(value)), rng.random()
        if how < 0.7:
            return value | {key: changed(rng, value[key])}
        without = {name: item for name, item in value.items() if name != key}
        return without if how < 0.8 else without | {rng.choice((key + "x", "x", "", "\x1b[2J")): value[key]}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        new = [[], [changed(rng, value[at])], [value[at]] * 2, [value[at]] * 70]
        return value[:at] + rng.choice(new) + value[at + 1 :]
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.5:
        return rng.choice((value + 1, value - 1, -value, value * 2, float(value), value * 10**6, str(value), [value]))
    return rng.choice(VALUES)


# ---- model files and checkpoints -----------------------------------------------------------------------------------


class Trap:
    """Leaves a file where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch sprung",)


def flipped(content: bytes, name: str) -> Iterator[Case]:
    """Yield a file once with each of its bytes changed."""
    for at in range(len(content)):
        yield {name: content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]}


def signed(rng: random.Random, content: bytes) -> bytes:
    """Return a file that says something else and has the right checksum for it."""
    header, body, how = header_of(content), body_of(content), rng.random()
    if how < 0.5:
        fields = json.loads(header["__metadata__"]["backprop"])
        digits = fields.pop("sha256")
        fields = changed(rng, fields)
        for _ in range(rng.choice((0, 0, 1, 3))):
            fields = changed(rng, fields)
        text = json.dumps((fields if isinstance(fields, dict) else {"content": fields}) | {"sha256": digits})
        if rng.random() < 0.2:
            number = rng.choice(("NaN", "1e999", "-Infinity", "1" * 60, "[" * 40, '{"a":1,"a":2}', "\\u0000", "1,2"))
            text = re.sub(r"(?<=[:\[ ])-?[0-9.]+(?=[,\]}])", lambda found: rng.choice((found[0], number)), text)
        header["__metadata__"]["backprop"] = re.sub(r'", "sha256": "', '","sha256":"', text.replace('": "', '":"'))
    elif how < 0.75:
        metadata = header.pop("__metadata__")
        for _ in range(rng.choice((1, 1, 2))):
            header = changed(rng, header)
        header = (header if isinstance(header, dict) else {"x": header}) | {"__metadata__": metadata}
    else:
        at = rng.randrange(len(body) // 4) * 4
        number = rng.choice((np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45, 0.0, 1e20))
        value = np.float32(number).tobytes() * rng.choice((1, 1, (len(body) - at) // 4))
        body = rng.choice((body[:at] + value + body[at + len(value) :], damaged(rng, body)))
    header = dict(rng.sample(list(header.items()), len(header))) if rng.random() < 0.1 else header
    try:
        return sign(header, body)
    except (ValueError, UnicodeEncodeError):  # the place of the checksum was lost
        return damaged(rng, content)


def model_files(rng: random.Random, sound: list[bytes], name: str) -> Iterator[Case]:
    """Yield damaged and hostile files made from sound ones; each byte of the first one changed at some time."""
    flips = flipped(sound[0], name)

    def flip(rng: random.Random) -> Case:
        return next(flips, None) or hurt(rng)

    def cut(rng: random.Random) -> Case:
        return {name: (content := rng.choice(sound))[: rng.randrange(len(content))]}

    def other(rng: random.Random) -> Case:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("data.pkl", pickle.dumps(Trap()))
        tensors = {name: np.zeros(rng.randrange(9), np.float32) for name in ("weight", "bias")}
        files = [pickle.dumps(Trap(), rng.randrange(6)), buffer.getvalue(), save_tensors(tensors), rng.randbytes(900)]
        return {name: damaged(rng, rng.choice([*files, SAMPLES[0].read_bytes()]), rng.choice(sound))}

    def resigned(rng: random.Random) -> Case:
        return {name: signed(rng, rng.choice(sound))}

    def resigned_text(rng: random.Random) -> Case:
        content = rng.choice(sound)
        text = content[8 : 8 + int.from_bytes(content[:8], "little")]
        try:
            return {name: sign(damaged(rng, text).decode("latin-1"), body_of(content))}
        except ValueError:
            return {name: damaged(rng, content)}

    def hurt(rng: random.Random) -> Case:
        return {name: damaged(rng, rng.choice(sound), rng.choice(sound))}

    yield from forever(rng, flip, flip, flip, cut, other, resigned, resigned, resigned, resigned, resigned_text, hurt)


# ---- configs -------------------------------------------------------------------------------------------------------


def from_schema(rng: random.Random, schema: dict[str, Any], defs: dict[str, Any]) -> Any:
    """Return a value that a JSON Schema allows, or nearly so."""
    if rng.random() < 0.02:
        return rng.choice(VALUES)
    if "$ref" in schema:
        return from_schema(rng, defs[schema["$ref"].rpartition("/")[2]], defs)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return from_schema(rng, rng.choice(schema[key]), defs)
    if "const" in schema or "enum" in schema:
        return rng.choice(schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "object":
        chosen = [key for key in schema.get("properties", {}) if key == "name" or rng.random() < 0.4]
        return {key: from_schema(rng, schema["properties"][key], defs) for key in chosen}
    if kind == "array":
        return [from_schema(rng, schema.get("items", {}), defs) for _ in range(rng.choice((0, 1, 2, 3, 70)))]
    number = rng.choice((0, 1, 2, 5, 0.1, 0.5, 0.9, 1e-3, 1e9, 65_536))
    text = rng.choice(("digits", "8x8", "a.npz", "run-1", "openml:mnist_784", "1e5", "2024-01-31", "on", "a b\x1b"))
    choices = {"integer": int(number), "number": number, "boolean": rng.random() < 0.5, "null": None, "string": text}
    return choices.get(str(kind), rng.choice(VALUES))


def configs(rng: random.Random) -> Iterator[Case]:
    """Yield mutated bundled configs, odd YAML, and configs that are nearly or wholly right."""
    bundled = [path.read_text("utf-8") for path in sorted(bundled_folder().glob("*.yaml"))]
    schema = json_schema()
    name = "config.yaml"

    def hurt(rng: random.Random) -> Case:
        return {name: damaged(rng, rng.choice(bundled).encode(), rng.choice(bundled).encode())}

    def values(rng: random.Random) -> Case:
        text = rng.choice(bundled)
        for _ in range(rng.choice((1, 1, 2, 5))):
            places = list(re.finditer(r"(?<=: )[^\s,{}\[\]#]+|\w+(?=:)", text))
            place = rng.choice(places) if places else re.match("", text)
            assert place is not None
            text = text[: place.start()] + rng.choice(TEXTS) + text[place.end() :]
        return {name: text.encode("utf-8", "surrogatepass")}

    def lines(rng: random.Random) -> Case:
        parts = rng.choice(bundled).splitlines(keepends=True)
        for _ in range(rng.choice((1, 2, 4))):
            at, other = rng.randrange(len(parts)), rng.randrange(len(parts))
            edits = [parts[at] * 2, "", " " + parts[at], parts[at].lstrip(), parts[other], "\t" + parts[at], "---\n"]
            parts[at] = rng.choice(edits)
        ends = rng.choice(("\n", "\n", "\r\n", "\r", "\u2028"))
        start = rng.choice(("", "", "\ufeff", "\ufeff\ufeff", "%YAML 1.2\n---\n"))
        encoding = rng.choice(("utf-8", "utf-8", "utf-8", "utf-16", "utf-32-le", "latin-1"))
        return {name: (start + "".join(parts).replace("\n", ends)).encode(encoding, "replace")}

    def made(rng: random.Random) -> Case:
        value = from_schema(rng, schema, schema["$defs"])
        if rng.random() < 0.3:
            value = changed(rng, value)
        text = yaml.dump(value, default_flow_style=rng.choice((True, False, None)), allow_unicode=rng.random() < 0.5)
        return {name: text.encode("utf-8", "surrogatepass")}

    def soup(rng: random.Random) -> Case:
        marks = [
            ": ",
            "- ",
            "\n",
            "\n  ",
            "[",
            "]",
            "{",
            "}",
            ", ",
            "? ",
            " ",
            "#",
            "seed",
            "network",
            "layers",
            "units",
        ]
        return {
            name: "".join(rng.choice([*marks, *TEXTS]) for _ in range(rng.randrange(40))).encode("utf-8", "replace")
        }

    yield from forever(rng, hurt, values, values, lines, made, made, soup)


# ---- pictures ------------------------------------------------------------------------------------------------------


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def sound_pictures() -> list[bytes]:
    """Return small pictures of every format and of many forms of each."""
    digit = Image.open(SAMPLES[9]).convert("L").resize((48, 56))
    modes = {
        mode: digit.convert(mode) for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I", "F", "I;16", "YCbCr")
    }
    exif = Image.Exif()
    exif[274] = 6
    forms: list[tuple[str, str, dict[str, Any]]] = [
        *(("PNG", mode, {}) for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "I;16")),
        *(("JPEG", mode, {"progressive": way}) for mode in ("L", "RGB", "CMYK") for way in (False, True)),
        *(
            (kind, mode, {"exif": exif})
            for kind, mode in (("JPEG", "L"), ("PNG", "RGB"), ("WEBP", "RGBA"), ("TIFF", "L"))
        ),
        *(("BMP", mode, {}) for mode in ("1", "L", "P", "RGB", "RGBA")),
        *(("GIF", mode, {"interlace": way}) for mode in ("L", "P", "RGBA") for way in (False, True)),
        *(("WEBP", mode, {"lossless": way}) for mode in ("RGB", "RGBA") for way in (False, True)),
        *(("PPM", mode, {}) for mode in ("1", "L", "RGB", "I;16", "F")),
        *(("TIFF", mode, {}) for mode in ("1", "L", "P", "LA", "RGBA", "CMYK", "I", "F", "I;16", "YCbCr")),
        *(("TIFF", mode, {"compression": way}) for mode in ("L", "RGB") for way in _TIFF_WAYS),
        ("TIFF", "1", {"compression": "group4"}),
        ("TIFF", "1", {"compression": "group3"}),
    ]
    pictures = [encoded(modes[mode], kind, **options) for kind, mode, options in forms]
    many = {"save_all": True, "append_images": [modes["L"].rotate(9)]}
    pictures += [encoded(modes["L"], kind, **many) for kind in ("GIF", "PNG", "WEBP", "TIFF", "MPO")]
    rows = "\n".join(" ".join(str(value) for value in row) for row in np.asarray(digit))
    plain = f"P2\n# a digit\n48 56 255\n{rows}\n".encode()
    pictures += [encoded(modes[mode], "AVIF", exif=exif) for mode in ("L", "RGBA")]
    pictures += [heic(modes[mode], exif=exif.tobytes()) for mode in ("L", "RGBA")]
    return [*pictures, plain, plain.replace(b"P2", b"P1"), *(path.read_bytes() for path in SAMPLES)]


def heic(picture: Image.Image, **options: Any) -> bytes:
    """Return a picture as iPhones keep it."""
    buffer = io.BytesIO()
    pillow_heif.from_pillow(picture).save(buffer, **options)
    return buffer.getvalue()


_TIFF_WAYS = ("tiff_lzw", "packbits", "tiff_adobe_deflate", "jpeg")


def with_checksums(content: bytes) -> bytes:
    """Return a PNG with the checksum of each chunk made right, so that a decoder looks into it."""
    data, at = bytearray(content), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(data)


def pictures(rng: random.Random) -> Iterator[Case]:
    """Yield damaged pictures of every format, under any name."""
    sound = sound_pictures()

    def hurt(rng: random.Random) -> Case:
        content = damaged(rng, rng.choice(sound), rng.choice(sound))
        return {rng.choice(("picture.png", "picture.tif", "p")): content}

    def lying(rng: random.Random) -> Case:
        data = bytearray(rng.choice(sound))
        for _ in range(rng.choice((1, 1, 2))):
            at, number = rng.randrange(min(len(data), 200)), rng.choice(NUMBERS)
            size, order = rng.choice((1, 2, 4)), rng.choice(("little", "big"))
            data[at : at + size] = (number % 256**size).to_bytes(size, order)
        return {"picture.png": with_checksums(bytes(data)) if data[:4] == b"\x89PNG" else bytes(data)}

    def repaired(rng: random.Random) -> Case:
        return {"picture.png": with_checksums(damaged(rng, rng.choice(sound[:8])))}

    def tags(rng: random.Random) -> Case:
        data = bytearray(rng.choice([content for content in sound if content[:4] == b"II*\0"]))
        (start,) = struct.unpack_from("<I", data, 4)
        for _ in range(rng.choice((1, 2, 3))):
            entry = start + 2 + 12 * rng.randrange(12)
            at = entry + rng.choice((0, 2, 4, 8, 8, 8))
            if at + 4 <= len(data):
                struct.pack_into("<I" if at >= entry + 4 else "<H", data, at, rng.choice(NUMBERS) % 65536)
        return {"picture.tif": bytes(data)}

    yield from forever(rng, hurt, hurt, lying, repaired, tags)


# ---- data files ----------------------------------------------------------------------------------------------------


def npy(array: np.ndarray[Any, Any], **header: Any) -> bytes:
    """Return a .npy file whose header may say anything."""
    buffer = io.BytesIO()
    fields = np.lib.format.header_data_from_array_1_0(array) | header
    np.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue() + array.tobytes()


def as_table(rng: random.Random, rows: list[list[str]]) -> bytes:
    """Return rows, each a label and pixels, in one of the ways that people write them."""
    n = len(rows[0])
    rows = [[*row[1:], row[0]] if rng.random() < 0.3 else row for row in rows] if rng.random() < 0.1 else rows
    if rng.random() < 0.2:
        rows = [[str(k), *row] for k, row in enumerate(rows)]
    if rng.random() < 0.2:
        rows = [
            [one if k == 0 else f"{one}{rng.choice(('.5', ',5', '.0', 'e-1'))}" for k, one in enumerate(row)]
            for row in rows
        ]
    heads = [[], ["label"], ["y", *map(str, range(n - 1))], [*map(str, range(n))], ["label", "label"], ["", "id"]]
    lines = [rng.choice((",", ";", "\t", " ", "|", ", ")).join(one) for one in [rng.choice(heads)] if one]
    cut, quote = rng.choice((",", ";", "\t", " ", "|", ", ", "\0")), rng.choice(("", "", '"'))
    lines += [cut.join(f"{quote}{one}{quote}" for one in row) + rng.choice(("", "", "", cut)) for row in rows]
    if rng.random() < 0.2:
        lines = [f"{row[0]} " + " ".join(f"{k}:{one}" for k, one in enumerate(row[1:], 1)) for row in rows]
    odd = [
        "# a",
        "#",
        "sep=;",
        '"sep=\t"',
        'sep="',
        "sep=",
        "",
        " ",
        '"',
        "1 65536:1",
        "3 1:1 1:2 99999999:1",
        "\ufffd",
        "\0" * 9,
    ]
    for _ in range(rng.choice((0, 0, 1, 3))):
        lines.insert(rng.choice((0, 0, rng.randrange(len(lines)))), rng.choice(odd))
    text = rng.choice(("\n", "\n", "\r\n", "\r", "\n\n")).join(lines) + rng.choice(("\n", "", "\x1a"))
    coding = rng.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "latin-1", "utf-32"))
    return text.encode(coding, "replace")


def with_lies(rng: random.Random, content: bytes) -> bytes:
    """Return a zip whose directory says other things than the entries do."""
    data = bytearray(content)
    for at in rng.sample(starts := [one.start() for one in re.finditer(b"PK\1\2", content)], min(2, len(starts))):
        field, form = rng.choice(
            ((8, "H"), (10, "H"), (16, "I"), (20, "I"), (24, "I"), (28, "H"), (38, "I"), (42, "I"))
        )
        if at + 46 <= len(data):
            struct.pack_into(f"<{form}", data, at + field, rng.choice(NUMBERS) % (65536 if form == "H" else 2**32))
    return bytes(data)


def zipped(members: dict[str, bytes], compression: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def data_files(rng: random.Random) -> Iterator[Case]:
    """Yield damaged data files and folders of each kind."""
    images = np.random.default_rng(0).integers(0, 17, (12, 4, 4)).astype(np.uint8)
    labels = np.arange(12, dtype=np.int64) % 3
    picture = SAMPLES[0].read_bytes()

    def arrays(rng: random.Random) -> dict[str, bytes]:
        array = images.astype(rng.choice(["u1", "<f4", ">f8", "<i8", "?", "<c8", "<M8[s]", "<f2", "<U3", "S2"]))
        if rng.random() < 0.3 and array.dtype.kind == "f":
            array[rng.randrange(12), 1, 1] = rng.choice([np.nan, np.inf, -1, 6e4])
        shapes = [
            (12, 4, 4),
            (12, 16),
            (0, 4, 4),
            (-1, 4, 4),
            (2**40, 4, 4),
            (2**31, 2**31, 4),
            (192,),
            (),
            (3, 2, 2, 16),
        ]
        header: dict[str, Any] = {"shape": rng.choice(shapes)} if rng.random() < 0.5 else {}
        if rng.random() < 0.2:
            header["descr"] = rng.choice(["|O", "<f8", "|V999999999", "<U999999999", "nonsense", [("a", "<f4")], "|u1"])
        names = np.array([rng.choice(["7", "x\x1b[2J", "[red]", "é", "", " ", "x" * 200, "-3"]) for _ in range(12)])
        named = npy(rng.choice([labels, names, labels.astype(float), labels.astype(bool), labels[:5], labels > 9]))
        found = {"images.npy": npy(array, **header), "labels.npy": named, "groups.npy": npy(labels)}
        if rng.random() < 0.5:
            key = rng.choice(list(found))
            found[key] = damaged(rng, found[key])
        if rng.random() < 0.3:
            del found[rng.choice(list(found))]
        return found

    def npz(rng: random.Random) -> Case:
        content = zipped(arrays(rng), rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
        return {"data.npz": damaged(rng, content) if rng.random() < 0.5 else content}

    def odd_arrays(rng: random.Random) -> Case:
        kind = rng.choice(["u1", "<f4", ">f8", "<i8", "?", "<c8", "<M8[s]", "<f2", "<U3", "S2", "g", "u1,u1"])
        forms: list[Callable[[Any], Any]] = [
            *(
                lambda a: a,
                np.asfortranarray,
                lambda a: a[..., None],
                lambda a: a[:, None].repeat(3, 1),
                lambda a: a[0, 0, 0],
            ),
            *(
                lambda a: a[..., None].repeat(3, 3),
                lambda a: np.moveaxis(a, 0, 2),
                lambda a: a[:0],
                lambda a: a[..., :0],
            ),
        ]
        one_hot = np.eye(3)[labels]
        answers = [
            *(
                labels,
                labels[:, None],
                labels[None],
                labels[0],
                labels[:0],
                one_hot[:0, :0],
                one_hot[:, :0],
                one_hot * 0.5,
            ),
            *(
                one_hot,
                one_hot.T,
                labels.astype("f2"),
                labels.astype("S200"),
                labels.astype("U9"),
                labels * np.nan,
                labels * 1j,
            ),
        ]
        with np.errstate(all="ignore"):
            found = [
                rng.choice(forms)(images).astype(kind),
                rng.choice(answers).astype(rng.choice(["O", "c16"]), copy=False)
                if rng.random() < 0.2
                else rng.choice(answers),
            ]
        names = ["images X x_train data TrainImages x-test", "labels y y_train target TrainLabels y-test"]
        part = {f"{rng.choice(one.split())}.npy": npy(np.asarray(a)) for one, a in zip(names, found, strict=True)}
        if rng.random() < 0.3:
            part |= {
                "groups.npy": npy(np.asarray(rng.choice(answers))),
                f"{rng.choice('abyX')}.npy": npy(np.asarray(rng.choice(answers))),
            }
        if rng.random() < 0.4:
            return {f"{rng.choice(['arrays', 'folder'])}/{name}": content for name, content in part.items()}
        content = zipped(
            part, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
        )
        return {f"{rng.choice('abcd')}.npz": with_lies(rng, content) if rng.random() < 0.3 else content}

    def table(rng: random.Random) -> Case:
        rows = [[str(k % 3), *map(str, images[k % 12].ravel())] for k in range(rng.choice((1, 2, 30, 60)))]
        for _ in range(rng.choice((0, 0, 1, 3))):
            row = rng.choice(rows)
            row[rng.randrange(len(row))] = rng.choice(TEXTS)
        content = as_table(rng, rows)
        content = damaged(rng, content) if rng.random() < 0.2 else content
        ending = rng.choice(("csv", "CSV", "tsv", "libsvm", "tra", "csv.gz"))
        return packed(rng, {f"{rng.choice('abcd')}.{ending}": content})

    def table_of_files(rng: random.Random) -> Case:
        names = [
            "3.png",
            "./3.png",
            "sub/4.png",
            "sub\\4.png",
            "../x.png",
            "/etc/x.png",
            "no.png",
            "\0.png",
            ".",
            "a" * 300 + ".png",
        ]
        rows = [
            [rng.choice(names[:4] if rng.random() < 0.9 else names), str(k % 2)] for k in range(rng.choice((2, 30)))
        ]
        text = "".join(",".join(row) + "\n" for row in [["file", "label"], *rows][rng.choice((0, 0, 1)) :])
        beside: Case = {"3.png": picture, "sub/4.png": damaged(rng, picture) if rng.random() < 0.3 else picture}
        return {"a.csv": text.encode()} | beside

    def archive(rng: random.Random) -> Case:
        inside = rng.choice((table, odd_arrays, npz, picture_folder, picture_folder, archive, table_of_files))(rng)
        members = {name: content for name, content in inside.items() if isinstance(content, bytes)}
        top = rng.choice(
            ("", "", "", "mine/", "train/", "a/b/c/d/", "../", "/", "d/" * 25, "x" * 600 + "/", "__MACOSX/")
        )
        again = {name.replace("folder", "folder/test"): content for name, content in members.items()}
        members = {
            f"{top}{name}": content for name, content in (members | (again if rng.random() < 0.3 else {})).items()
        }
        if rng.random() < 0.2:
            members[rng.choice(("3", "folder/3", "x.txt", "a//b.png", "\u202e/a.png", "C:\\a.png"))] = picture
        methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
        content = zipped(members, rng.choice(methods))
        hurt = rng.choice((with_lies, damaged, lambda _, content: content, lambda _, content: content))
        return {f"{rng.choice('abcd')}.zip": hurt(rng, content)}

    def layout(rng: random.Random) -> Case:
        roots = rng.sample(["", "train/", "test/", "Training/", "val/", "data/", "3/"], rng.choice((1, 1, 2, 3)))
        names = [
            "3/a.png",
            "4/b.PNG",
            "3/anna/a.png",
            "4/ben/b.png",
            "5/carl/c.png",
            "3_1.png",
            "4_2.png",
            "x_3.png",
            "4.png",
        ]
        names += [
            ".DS_Store",
            "Thumbs.db",
            "3/._a.png",
            "notes.txt",
            "3/deep/er/a.png",
            "\u202e/a.png",
            "a b/c d.jpeg",
            "empty/x.txt",
        ]
        return {f"many/{rng.choice(roots)}{one}": picture for one in rng.sample(names, rng.randrange(1, 12))}

    def npy_folder(rng: random.Random) -> Case:
        return {f"folder/{name}": content for name, content in arrays(rng).items()} or {"folder/x": b""}

    def csv(rng: random.Random) -> Case:
        rows = [[str(label), *map(str, image.ravel())] for image, label in zip(images, labels, strict=True)]
        if rng.random() < 0.4:
            rows.insert(0, rng.sample(["label", *(f"p{k}" for k in range(16))], 17))
        for _ in range(rng.choice((0, 1, 3))):
            row = rng.choice(rows)
            row[rng.randrange(len(row))] = rng.choice(TEXTS)
            if rng.random() < 0.2:
                row.pop()
        text = rng.choice(("\n", "\r\n", "\n\n")).join(rng.choice((",", ",", ",", ", ", ";")).join(row) for row in rows)
        content = text.encode("utf-8", "surrogatepass")
        content = damaged(rng, content) if rng.random() < 0.4 else content
        return packed(rng, {"data.csv": content})

    def idx(rng: random.Random) -> Case:
        pictures = struct.pack(">4BIII", 0, 0, 8, 3, *rng.choice([(12, 4, 4), (2**32 - 1,) * 3, (12, 4, 5), (0, 4, 4)]))
        beside = struct.pack(">4BI", 0, 0, 8, 1, 12) + labels.astype(np.uint8).tobytes()
        content = pictures + images.tobytes()
        files: Case = {"train-images-idx3-ubyte": content, "train-labels-idx1-ubyte": beside}
        key = rng.choice(list(files))
        return packed(
            rng, files | ({key: damaged(rng, content if "images" in key else beside)} if rng.random() < 0.7 else {})
        )

    def packed(rng: random.Random, files: Case) -> Case:
        if rng.random() < 0.6:
            return files
        gz = {f"{name}.gz": gzip.compress(content, 1) for name, content in files.items() if isinstance(content, bytes)}
        if rng.random() < 0.5:
            name = rng.choice(list(gz))
            gz[name] = damaged(rng, gz[name])
        return {**gz}

    def picture_folder(rng: random.Random) -> Case:
        def link(target: str) -> Callable[[Path], object]:
            return lambda path: path.symlink_to(target)

        odd: list[bytes | Callable[[Path], object]] = [
            *(damaged(rng, picture), picture, picture, b"", link("."), link("nowhere"), link("/dev/zero"), os.mkfifo),
            *(link("loop.png"), Path.mkdir, rng.randbytes(50)),
        ]
        places = [
            "3/a.png",
            "4/b.png",
            "[red]\x1b[2J/c.png",
            "x.png",
            "3/loop.png",
            "4/z.txt",
            ".hidden/a.png",
            "5/d.PNG",
        ]
        chosen = rng.sample(places, rng.randrange(1, 7))
        sound: Case = {} if rng.random() < 0.3 else {"folder/3/s.png": picture, "folder/7/t.png": picture}
        return sound | {f"folder/{place}": rng.choice(odd) for place in chosen}

    yield from forever(
        rng,
        *(
            npz,
            npy_folder,
            csv,
            idx,
            picture_folder,
            odd_arrays,
            table,
            table,
            table_of_files,
            archive,
            archive,
            layout,
        ),
    )
