"""What a file that Pillow reads no picture from is, judged by its content, and what to do about it."""

import re

_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_HEIF = {b"mif1", b"msf1", b"heif"}  # of pictures packed in any way
_AVIF = {b"avif", b"avis"}
_MAX_BRANDS = 256  # bytes

_HEAD = 4096  # bytes

_OFFICE = {b"word/document": "DOCX", b"xl/workbook": "XLSX", b"ppt/presentation": "PPTX"}
_TYPES = (  # what a content begins with (a regular expression) -> what is said of it
    (rb"\s*%PDF-", "PDF, not a picture; export the page as PNG"),
    (rb"%!PS", "PostScript, not a picture; export the page as PNG"),
    (rb"(?i)\s*<(!doctype html|html)\b", "a web page, not a picture; save the picture itself"),
    (rb"(?i)(\xef\xbb\xbf)?\s*(<(\?xml|!--|!doctype)[\s\S]{0,2000}?)?<svg\b", "SVG, not a picture; export it as PNG"),
    (rb"8BPS", "PSD, as Photoshop writes it; export it as PNG"),
    (rb"gimp xcf", "XCF, as GIMP writes it; export it as PNG"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL; save it as JPEG or PNG"),
    (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  ", "JPEG 2000; save it as JPEG or PNG"),
    (rb"\0\x05\x16\x07", "not a picture, but metadata of macOS; give the file without ._ before its name"),
)


def is_heic(content: bytes) -> bool:
    """Return whether a content is HEIC, or another HEIF that is not AVIF, by its brands (ISO/IEC 23008-12, 10.2)."""
    brand, others = _brands(content)
    return brand in _HEIC or (brand in _HEIF and not others & _AVIF)


def description_of(content: bytes) -> str | None:
    """Return what content that is not a picture is, and what to do about it; None if unknown."""
    for begin, text in _TYPES:
        if re.match(begin, content[:_HEAD]):
            return text
    if content[:4] == b"PK\x03\x04":
        return _zip_description(content)
    brand, others = _brands(content)
    if (others | {brand}) & _AVIF:
        return "AVIF that this Pillow cannot read, or a damaged one; save it as JPEG or PNG"
    if brand == b"crx ":
        return "CR3, a camera's raw picture; save it as JPEG or PNG"
    return "a video, not a picture; save one of its frames as PNG" if brand else None


def _zip_description(content: bytes) -> str:
    """Return what a zip archive is: names in it stand there as they are."""
    document = next((kind for folder, kind in _OFFICE.items() if folder in content), None)
    if b"[Content_Types].xml" in content and document:
        return f"{document}, not a picture; save the picture in it as PNG"
    if content[30:38] == b"mimetype":
        return "a document, such as ODT, not a picture; save the picture in it as PNG"
    return "ZIP, not a picture; unpack it first"


def _brands(content: bytes) -> tuple[bytes, set[bytes]]:
    """Return the brand of an ISO media file, and those that it says it is compatible with; b"" for any other file."""
    if content[4:8] != b"ftyp":
        return b"", set()
    end = min(int.from_bytes(content[:4], "big"), _MAX_BRANDS)
    return content[8:12], {content[start : start + 4] for start in range(16, end, 4)}
