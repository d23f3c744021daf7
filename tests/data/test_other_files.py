"""Pictures of phones, pictures with a wrong ending, files that are no pictures: each is read or named as what it is."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import SAMPLES, backprop, document, refusal
from PIL import Image

from backprop_cli.data import image as image_module
from backprop_cli.data.image import decode, is_litter, is_named_as_picture
from backprop_cli.errors import PictureError

DIGIT = Image.open(SAMPLES / "4-1419.png").convert("L").resize((160, 120))
GRAY = np.asarray(DIGIT, np.float32) / 255
EMPTY_HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0\0\0\x08meta" + bytes(200)
NO_EXTRA = "HEIC, as iPhones write it; pip install 'backprop-cli[heif]' reads it, or save it as JPEG or PNG"


def content_of(picture: Image.Image = DIGIT, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def heic(picture: Image.Image = DIGIT, **options: Any) -> bytes:
    """Return a picture as iPhones write it; without the extra `heif` the test is skipped."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heif is not installed")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(picture).save(buffer, **{"quality": 95, **options})
    return buffer.getvalue()


def refused(content: bytes) -> str:
    with pytest.raises(PictureError) as caught:
        decode(content)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("-: ")


# ---- HEIC ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_pictures_of_iphones_are_read_whatever_they_are_called(tmp_path: Path, mode: str) -> None:
    for name in ("IMG_1.HEIC", "IMG_2.jpg"):
        (tmp_path / name).write_bytes(heic(DIGIT.convert(mode)))
        assert np.abs(decode(tmp_path / name) - GRAY).mean() < 0.01


@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_they_are_turned_once(orientation: int, kind: str) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    turned = DIGIT.transpose(Image.Transpose(undo[orientation])) if orientation in undo else DIGIT
    exif = Image.Exif()
    exif[274] = orientation
    content = heic(turned, exif=exif.tobytes()) if kind == "HEIC" else content_of(turned, "AVIF", quality=95, exif=exif)
    gray = decode(content)
    assert gray.shape == GRAY.shape
    assert np.abs(gray - GRAY).mean() < 0.01


def test_without_the_extra_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for brands in (b"heic\0\0\0\0mif1heic", b"heix\0\0\0\0mif1heix", b"mif1\0\0\0\0mif1heic", b"msf1\0\0\0\0msf1hevc"):
        assert refused(b"\0\0\0\x18ftyp" + brands + bytes(200)) == NO_EXTRA


def test_their_size_is_checked_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = heic()
    monkeypatch.setattr(image_module, "MAX_COPIED_PIXELS", 160 * 120 - 1)
    monkeypatch.setattr("pillow_heif.HeifFile.to_pillow", None)
    assert refused(content) == "more than 50 megapixels, as HEIC; save it smaller, or as PNG"
    monkeypatch.setattr(image_module, "MAX_PIXELS", 160 * 120 - 1)
    assert refused(content) == "more than 100 megapixels; save the picture smaller"


def test_one_that_is_larger_than_it_says_is_not_decoded() -> None:
    content = heic(Image.new("L", (2000, 2000), 200))
    place = content.index(b"ispe") + 8
    lying = content[:place] + struct.pack(">II", 64, 64) + content[place + 8 :]
    assert refused(lying).startswith("damaged picture (")


def test_damaged_ones_are_refused_in_one_line() -> None:
    content = heic()
    for damaged in (EMPTY_HEIC, content[:40], content[: len(content) // 2], content[:-50]):
        assert refused(damaged).startswith("damaged picture (")
    for place in range(0, len(content), 7):
        with suppress(PictureError):
            decode(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])


def test_threads_read_them_and_pillow_is_left_as_it_was() -> None:
    content = heic()
    with ThreadPoolExecutor(4) as threads:
        assert len({gray.tobytes() for gray in threads.map(decode, [content] * 8)}) == 1
    assert "HEIF" not in Image.OPEN
    assert ".heic" not in Image.registered_extensions()


def test_what_reads_them_is_loaded_for_them_alone() -> None:
    code = f"import sys; from pathlib import Path; from backprop_cli.data.image import decode\n\
decode(Path({str(SAMPLES / '4-1419.png')!r})); assert 'pillow_heif' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- wrong endings, and what is no picture -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF"])
def test_a_picture_is_read_by_its_content(tmp_path: Path, kind: str) -> None:
    content = content_of(kind=kind)
    for name in ("0.jpg", "0.png", "0.tif", "0.heic", "0.pdf", "0"):
        (tmp_path / name).write_bytes(content)
        assert np.array_equal(decode(tmp_path / name), decode(content))


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"application/vnd.oasis.opendocument.text")
    return buffer.getvalue()


def media(brand: bytes, *others: bytes) -> bytes:
    brands = b"".join([brand, bytes(4), *others])
    return struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + bytes(100)


SVG = b'<svg viewBox="0 0 9 9"><path d="M0 0L9 9"/></svg>'
OTHERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "pdf": (lambda: content_of(kind="PDF"), "PDF, not a picture; export the page as PNG"),
    "postscript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript, not a picture; export the page as PNG"),
    "web page": (lambda: b"<!doctype html><html>404" + SVG, "a web page, not a picture; save the picture itself"),
    "svg": (lambda: SVG, "SVG, not a picture; export it as PNG"),
    "svg with a head": (lambda: b'<?xml version="1.0"?>\n<!-- x -->\n' + SVG, "SVG, not a picture; export it as PNG"),
    "docx": (lambda: zipped("[Content_Types].xml", "word/document.xml"), "DOCX, not a picture; save the picture in it"),
    "xlsx": (lambda: zipped("[Content_Types].xml", "xl/workbook.xml"), "XLSX, not a picture; save the picture in it"),
    "odt": (
        lambda: zipped("mimetype", "content.xml"),
        "a document, such as ODT, not a picture; save the picture in it",
    ),
    "zip": (lambda: zipped("0.png"), "ZIP, not a picture; unpack it first"),
    "mp4": (lambda: media(b"isom", b"iso2", b"mp41"), "a video, not a picture; save one of its frames as PNG"),
    "mov": (lambda: media(b"qt  "), "a video, not a picture; save one of its frames as PNG"),
    "cr3": (lambda: media(b"crx ", b"isom"), "CR3, a camera's raw picture; save it as JPEG or PNG"),
    "avif, damaged": (lambda: media(b"avif", b"mif1"), "AVIF that this Pillow cannot read, or a damaged one; save it"),
    "avif by another brand": (lambda: media(b"mif1", b"avif"), "AVIF that this Pillow cannot read, or a damaged one"),
    "psd": (lambda: b"8BPS\0\1" + bytes(40), "PSD, as Photoshop writes it; export it as PNG"),
    "xcf": (lambda: b"gimp xcf v011\0", "XCF, as GIMP writes it; export it as PNG"),
    "jpeg xl": (lambda: b"\xff\x0a" + bytes(40), "JPEG XL; save it as JPEG or PNG"),
    "jpeg 2000": (lambda: b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000; save it as JPEG or PNG"),
    "of a mac": (lambda: b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(80), "not a picture, but metadata of macOS; "),
    "other xml": (lambda: b"<?xml version='1.0'?><kml/>", "not a picture, or a damaged one; expected PNG, "),
    "a short ftyp": (lambda: b"\0\0\0\x14ftyp", "not a picture, or a damaged one; expected PNG, "),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_picture_is_named_for_what_it_is(name: str) -> None:
    make, told = OTHERS[name]
    message = refused(make())
    assert message.startswith(told)
    assert message.count("; ") == 1


# ---- folders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".DS_Store", "._0.png", ".ipynb_checkpoints", "__MACOSX", "Thumbs.db", "Desktop.ini"])
def test_what_systems_leave_about_is_known_by_name(name: str) -> None:
    assert is_litter(name)
    assert not is_named_as_picture(name)


def test_pictures_are_known_by_their_endings() -> None:
    assert all(is_named_as_picture(name) for name in ("0.png", "IMG_1.HEIC", "a.b.JPeG", "x.avif", "_.heif"))
    assert not any(is_named_as_picture(name) for name in ("0", "png", "0.pdf", "labels.csv", "0.png.zip"))
    assert not any(is_litter(name) for name in ("0.png", "labels.csv", "thumbs.png", "macosx"))


def folder_of(place: Path, *names: str) -> Path:
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content_of() if name.endswith(".png") else EMPTY_HEIC)
    return place


def predicted(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names in the answers to a folder, and what is said on stderr beside the model and errors."""
    result = backprop("predict", folder.name)
    said = [line for line in result.stderr.splitlines() if not line.startswith(("model: ", "error: "))]
    return [line.partition(":")[0] for line in result.stdout.splitlines()], said


def test_litter_is_left_out_in_silence(work: Path) -> None:
    names = ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/._0.png", ".ipynb_checkpoints/0.png")
    folder_of(work / "mac", "0.png", "1.png", *names)
    folder_of(work / "classes", "3/0.png", "4/1.png", "3/._0.png", *names[1:])
    assert predicted(work / "mac") == (["mac/0.png", "mac/1.png"], [])
    assert predicted(work / "classes") == (["classes/3/0.png", "classes/4/1.png"], [])


def test_what_else_is_no_picture_is_counted_and_named(work: Path) -> None:
    folder_of(work / "phone", "0.png", "1.png", "drawing.svg", "scan.pdf", "inner/x.pdf")
    assert predicted(work / "phone")[1] == ["phone: 2 files left out: drawing.svg (SVG), scan.pdf (PDF)"]
    folder_of(work / "many", "3/0.png", "4/1.png", "README", "3/a.txt", *(f"4/{k}.pdf" for k in range(1000)))
    told = "many: 1,002 files left out: README, 3/a.txt (TXT), 4/0.pdf (PDF) and 999 more"
    assert predicted(work / "many")[1] == [told]
    assert backprop("predict", "many", "-q").stderr == ""


def test_a_folder_without_pictures_says_what_it_holds(work: Path) -> None:
    folder_of(work / "scans", "page.pdf", "._0.png")
    message = refusal("predict", "scans")
    assert "scans: no pictures in this folder (it may hold .avif, " in message
    assert message.endswith("; 1 file left out: page.pdf (PDF)\n")


def test_pictures_of_iphones_are_never_passed_over(work: Path) -> None:
    folder_of(work / "phone", "IMG_1.HEIC", "IMG_2.png", "IMG_3.heif")
    found = document("predict", "phone", code=1)["predictions"]
    assert [one["path"] for one in found] == ["phone/IMG_1.HEIC", "phone/IMG_2.png", "phone/IMG_3.heif"]
    assert ["error" in one for one in found] == [True, False, True]
