"""Draw the digits of open fonts: python make_pens.py FOLDER, where `npm pack @fontsource/NAME` left the packages.

FOLDER holds fontsource-NAME-VERSION.tgz of every family in families.txt. Beside this file are written: `pens.npz`, the
digits as bitmaps of 48x48 in four levels of gray, each family a group; and `LICENSES.md`, whose fonts they are.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).parent
SIDE, MARGIN = 48, 2  # pixels
LEVELS = 4  # of gray
LARGE = 128  # points that a font is drawn at before it is brought to size
WEIGHTS = ("100", "200", "400", "700")
LICENSES = ("OFL-1.1", "Apache-2.0")


def main(folder: Path) -> None:
    """Draw every family, and write what is made of them."""
    families = HERE.joinpath("families.txt").read_text("utf-8").split()
    images, labels, groups, owners, texts = [], [], [], [], dict[str, str]()
    for number, family in enumerate(families):
        (path,) = folder.glob(f"fontsource-{family}-[0-9]*.tgz")
        with tarfile.open(path) as package:
            terms, owner, text = license_of(package)
            texts.setdefault(terms, text)
            owners.append(f"| {family} | {terms} | {owner} |")
            for glyphs in drawn(package, family):
                images += glyphs
                labels += range(10)
                groups += [number] * 10
    np.savez_compressed(
        HERE / "pens.npz",
        images=np.stack(images),
        labels=np.array(labels, np.uint8),
        groups=np.array(groups, np.uint16),
    )
    head = ["# Whose fonts these are", "", "| family | license | copyright |", "|---|---|---|", *owners]
    whole = "\n".join(head) + "".join(f"\n\n## {terms}\n\n```\n{text}\n```" for terms, text in texts.items())
    HERE.joinpath("LICENSES.md").write_text(whole + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(families)} families, {len(images) // 10} pens, {len(images)} digits\n")


def license_of(package: tarfile.TarFile) -> tuple[str, str, str]:
    """Return a font's license, whose it is, and the license's text.

    Raises:
        SystemExit: It is none that lets digits be passed on.
    """
    about = json.loads(content(package, "package/package.json"))
    if about["license"] not in LICENSES:
        raise SystemExit(f"{about['name']}: {about['license']} is not one of {', '.join(LICENSES)}")
    text = content(package, "package/LICENSE").decode("utf-8").replace("\r\n", "\n")
    first, _, rest = text.partition("\n")
    if about["license"] == "Apache-2.0":
        return "Apache-2.0", "see the family's page at fonts.google.com", text.rstrip()
    owner = re.sub(r"\s+[\w\[\],-]+\.ttf: .*", "", first).replace("|", ", ")
    return about["license"], owner, rest[rest.index("-----") :].rstrip()


def drawn(package: tarfile.TarFile, family: str) -> Iterator[list[np.ndarray]]:
    """Yield the ten digits of each weight of a family."""
    for weight in WEIGHTS:
        name = next((n for n in package.getnames() if n.endswith(f"/{family}-latin-{weight}-normal.woff")), None)
        if name is not None:
            font = ImageFont.truetype(io.BytesIO(content(package, name)), LARGE)
            glyphs = [glyph(str(digit), font) for digit in range(10)]
            if all(one.any() for one in glyphs):
                yield glyphs


def glyph(text: str, font: ImageFont.FreeTypeFont) -> np.ndarray:
    """Return one digit in the middle of its bitmap, as large as fits, ink bright on 0; no ink: the font lacks it."""
    canvas = Image.new("L", (4 * LARGE, 4 * LARGE), 0)
    ImageDraw.Draw(canvas).text((LARGE, LARGE), text, fill=255, font=font)
    frame = Image.new("L", (SIDE, SIDE), 0)
    if (box := canvas.getbbox()) is not None:
        ink = canvas.crop(box)
        scale = (SIDE - 2 * MARGIN) / max(ink.size)
        size = [max(1, round(side * scale)) for side in ink.size]
        ink = ink.resize((size[0], size[1]), Image.Resampling.LANCZOS)
        frame.paste(ink, ((SIDE - ink.width) // 2, (SIDE - ink.height) // 2))
    step = 255 // (LEVELS - 1)
    return (np.rint(np.asarray(frame) / step) * step).astype(np.uint8)


def content(package: tarfile.TarFile, name: str) -> bytes:
    """Return one file of a package."""
    file = package.extractfile(name)
    if file is None:
        raise SystemExit(f"{package.name}: holds no {name}")
    return file.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
