"""Make photo-like pictures of given digits: paper, light, lines, pencils, phones, and the formats they come in.

Every picture is a real file. A kind's pictures depend on the digits, the seed and the kind's name only, so kinds can be
added without changing the others. `benchmarks/pictures.py` measures how well they are read.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SEEDED_BY = {"colored ink": "coloured ink", "16-bit gray": "16-bit grey"}  # so that their pictures stay the same
Array = NDArray[np.float32]
Draw = Callable[[Array, np.random.Generator], Image.Image]

SIDE = 300
"""Height of an ordinary picture, in pixels."""


class Picture(NamedTuple):
    """One file that was made."""

    path: Path
    kind: str
    label: int


@dataclass(frozen=True)
class Kind:
    """How one kind of picture is drawn, from a digit with ink in [0, 1], (h, w), and saved."""

    draw: Draw
    suffix: str = "png"
    options: dict[str, Any] = field(default_factory=dict)  # of Pillow's save


def make_pictures(
    images: NDArray[np.generic],
    labels: Sequence[int] | NDArray[np.integer],
    folder: Path,
    seed: int = 0,
    per_kind: int = 25,
    kinds: Sequence[str] | None = None,
) -> list[Picture]:
    """Write `per_kind` pictures of each kind into `folder`.

    Args:
        images: Digits, bright ink on 0, of any range, (n, h, w).
        labels: What they are, (n,).
        folder: Where to write; made if it is missing.
        seed: Chooses the digits and all that varies.
        per_kind: Pictures of each kind, at most n.
        kinds: Names in `KINDS`; None for all.

    Returns:
        The pictures, kind by kind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ink = np.asarray(images, np.float32) / np.float32(np.max(images))
    made = []
    for name in KINDS if kinds is None else kinds:
        kind = KINDS[name]
        rng = np.random.default_rng([seed, zlib.crc32(_SEEDED_BY.get(name, name).encode())])
        for number, row in enumerate(rng.permutation(len(ink))[:per_kind]):
            picture = kind.draw(ink[row], rng)
            path = folder / f"{name.replace(' ', '-')}-{number:03d}.{kind.suffix}"
            exif = {"exif": picture.getexif()} if picture.getexif() else {}
            picture.save(path, **kind.options, **exif)
            made.append(Picture(path, name, int(labels[row])))
    return made


# ---- parts of a scene: arrays (height, width) or (height, width, 3), 0 black .. 1 white ------------------------------


def _cropped(digit: Array) -> Array:
    """Return the part of a digit that holds its ink."""
    drawn = digit > 0.2
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    return digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _strokes(
    digit: Array,
    rng: np.random.Generator,
    size: tuple[int, int] = (SIDE, SIDE),
    tall: tuple[float, float] = (0.45, 0.7),
    wander: float = 0.08,
    angle: float = 0.0,
) -> Array:
    """Place a digit on an empty picture.

    Args:
        digit: Ink in [0, 1], (h, w).
        rng: Draws size and place.
        size: Height and width of the picture.
        tall: Least and greatest height of the digit, as shares of the picture's height.
        wander: How far from the middle it may stand, as a share of the height.
        angle: Degrees that it is turned by.

    Returns:
        Share of each pixel that is covered by ink, (height, width).
    """
    height, width = size
    ink = np.pad(_cropped(digit), 2)
    rows = rng.uniform(*tall) * height
    factor = rows / (ink.shape[0] - 4)
    factor = min(factor, 0.9 * width / ink.shape[1], 0.95 * height / ink.shape[0])
    large = Image.fromarray(ink).resize(
        (max(1, round(ink.shape[1] * factor)), max(1, round(ink.shape[0] * factor))), Image.Resampling.BICUBIC
    )
    canvas = Image.new("F", (width, height))
    free = (width - large.width) / 2, (height - large.height) / 2
    moves = [np.clip(rng.uniform(-wander, wander) * height, -room, room) for room in free]
    canvas.paste(large, (round(free[0] + moves[0]), round(free[1] + moves[1])))
    if angle:
        canvas = canvas.rotate(angle, Image.Resampling.BICUBIC)
    sharpness = np.clip(factor / 2, 1, 4)  # enlarged outlines are drawn as by a pen
    return np.clip((np.asarray(canvas, np.float32) - 0.35) * sharpness + 0.35, 0, 1).astype(np.float32)


def _noise(size: tuple[int, int], grain: float, rng: np.random.Generator) -> Array:
    """Return smooth noise of mean 0 and standard deviation about 1, whose spots are `grain` pixels wide."""
    small = [max(2, round(side / grain)) for side in size]
    values = Image.fromarray(rng.normal(size=small).astype(np.float32))
    return np.asarray(values.resize((size[1], size[0]), Image.Resampling.BICUBIC), np.float32)


def _paper(size: tuple[int, int], rng: np.random.Generator, roughness: float = 0.01) -> Array:
    """Return a sheet of paper, slightly tinted, (height, width, 3)."""
    tint = rng.uniform(0.84, 0.97) * np.array([1, rng.uniform(0.97, 1), rng.uniform(0.9, 1)])
    fibers = sum(_noise(size, grain, rng) for grain in (1, 3, 9)) * roughness
    return np.clip(tint + fibers[:, :, None], 0, 1).astype(np.float32)


def _inked(ground: Array, strokes: Array, color: Sequence[float]) -> Array:
    """Draw strokes of a color on a ground: pigment multiplies what the ground reflects."""
    ink = strokes[:, :, None]
    return ground * (1 - ink) + ground * np.asarray(color, np.float32) * ink


def _pen(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return black, dark gray or blue."""
    return rng.uniform(0.05, 0.25) * np.array([1, 1, rng.choice([1.0, 2.4])])


def _light(size: tuple[int, int], rng: np.random.Generator) -> Array:
    """Return uneven light: a slope, a vignette and the soft edge of a shadow, (height, width, 1)."""
    y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    turn = rng.uniform(0, 2 * np.pi)
    along = np.cos(turn) * x + np.sin(turn) * y
    slope = 1 - rng.uniform(0.05, 0.2) * (1 + along)
    vignette = 1 - rng.uniform(0, 0.2) * (x * x + y * y)
    across = np.cos(turn + rng.uniform(-1, 1)) * x + np.sin(turn + rng.uniform(-1, 1)) * y
    edge = (across - rng.uniform(-0.6, 0.6)) / rng.uniform(0.04, 0.3)
    shadow = 1 - rng.uniform(0.2, 0.5) / (1 + np.exp(-np.clip(edge, -30, 30)))
    return (slope * vignette * shadow)[:, :, None].astype(np.float32)


def _ruled(ground: Array, rng: np.random.Generator, *, across: bool) -> Array:
    """Print lines at equal distances on paper, slightly tilted; both ways if `across`."""
    height, width = ground.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    pitch = height * (rng.uniform(0.07, 0.2) if across else rng.uniform(0.12, 0.35))
    tilt, thick = rng.uniform(-0.015, 0.015), rng.uniform(0.9, 2.2)
    color = 1 - rng.uniform(0.15, 0.5) * np.array([1.0, 0.8, rng.uniform(0.3, 0.8)])
    lines = np.zeros((height, width), np.float32)
    for place in (y + tilt * x, x - tilt * y) if across else (y + tilt * x,):
        distance = np.abs((place + rng.uniform(0, pitch)) % pitch - pitch / 2)
        lines = np.maximum(lines, np.clip(thick / 2 + 0.5 - distance, 0, 1))
    return _inked(ground, lines, color)


def _blurred(values: Array, sigma: float) -> Array:
    """Blur rows and columns with a Gaussian of `sigma` pixels, (height, width, 3)."""
    reach = int(3 * sigma) + 1
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        padded = np.pad(values, [(reach, reach) if side == axis else (0, 0) for side in range(3)], "edge")
        length = values.shape[axis]
        moved = (padded.take(range(k, k + length), axis) * weight for k, weight in enumerate(weights))
        values = sum(moved, np.zeros_like(values)).astype(np.float32)
    return values


def _image(values: Array, rng: np.random.Generator | None = None, noise: float = 0.0) -> Image.Image:
    """Return a picture of levels in [0, 1], with the noise of a sensor."""
    if rng is not None and noise:
        values = values + rng.normal(size=values.shape).astype(np.float32) * np.float32(noise)
    return Image.fromarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8))


def _scan(digit: Array, rng: np.random.Generator) -> Array:
    """Return a clean scan: pen on smooth paper, (height, width, 3)."""
    return _inked(_paper((SIDE, SIDE), rng, 0.003), _strokes(digit, rng), _pen(rng))


# ---- the kinds -------------------------------------------------------------------------------------------------------


def _straight(digit: Array, rng: np.random.Generator) -> Image.Image:
    return _image(digit)


def _paper_texture(digit: Array, rng: np.random.Generator) -> Image.Image:
    return _image(_inked(_paper((SIDE, SIDE), rng, rng.uniform(0.015, 0.04)), _strokes(digit, rng), _pen(rng)))


def _shadow(digit: Array, rng: np.random.Generator) -> Image.Image:
    return _image(_scan(digit, rng) * _light((SIDE, SIDE), rng), rng, 0.01)


def _lined(digit: Array, rng: np.random.Generator) -> Image.Image:
    ground = _ruled(_paper((SIDE, SIDE), rng), rng, across=False)
    return _image(_inked(ground, _strokes(digit, rng), _pen(rng)))


def _grid(digit: Array, rng: np.random.Generator) -> Image.Image:
    ground = _ruled(_paper((SIDE, SIDE), rng), rng, across=True)
    return _image(_inked(ground, _strokes(digit, rng), _pen(rng)))


def _colored(digit: Array, rng: np.random.Generator) -> Image.Image:
    colors = [
        (0.9, 0.15, 0.15),
        (0.1, 0.6, 0.25),
        (0.15, 0.3, 0.9),
        (0.95, 0.5, 0.1),
        (0.6, 0.2, 0.8),
        (0.95, 0.9, 0.1),
    ]
    color = np.array(colors[int(rng.integers(len(colors)))])
    return _image(_inked(_paper((SIDE, SIDE), rng, 0.005), _strokes(digit, rng), color), rng, 0.005)


def _pencil(digit: Array, rng: np.random.Generator) -> Image.Image:
    grain = np.clip(0.75 + 0.4 * _noise((SIDE, SIDE), 2, rng), 0, 1)
    gray = 1 - rng.uniform(0.18, 0.45)
    return _image(_inked(_paper((SIDE, SIDE), rng, 0.008), _strokes(digit, rng) * grain, [gray] * 3), rng, 0.01)


def _blur(digit: Array, rng: np.random.Generator) -> Image.Image:
    return _image(_blurred(_scan(digit, rng), rng.uniform(2, 5)), rng, 0.01)


def _jpeg(digit: Array, rng: np.random.Generator) -> Image.Image:
    return _image(_scan(digit, rng)).resize((150, 150))


def _margins(digit: Array, rng: np.random.Generator) -> Image.Image:
    strokes = _strokes(digit, rng, (600, 800), (0.12, 0.25), wander=0.5)
    return _image(_inked(_paper((600, 800), rng, 0.006), strokes, _pen(rng)))


def _rotated(digit: Array, rng: np.random.Generator) -> Image.Image:
    strokes = _strokes(digit, rng, angle=rng.uniform(-10, 10))
    return _image(_inked(_paper((SIDE, SIDE), rng, 0.003), strokes, _pen(rng)))


def _white_on_black(digit: Array, rng: np.random.Generator) -> Image.Image:
    strokes = _strokes(digit, rng)[:, :, None]
    board = rng.uniform(0.05, 0.25) * np.array([0.8, 1, 0.9]) + 0.01 * _noise((SIDE, SIDE), 4, rng)[:, :, None]
    return _image(board * (1 - strokes) + rng.uniform(0.75, 1) * strokes)


def _on_nothing(level: float) -> Draw:
    def draw(digit: Array, rng: np.random.Generator) -> Image.Image:
        picture = Image.new("RGBA", (SIDE, SIDE), (round(255 * level),) * 3)
        picture.putalpha(_image(_strokes(digit, rng)))
        return picture

    return draw


def _sixteen_bit(digit: Array, rng: np.random.Generator) -> Image.Image:
    top = rng.choice([65535, 4095])  # the whole range, or a camera's twelve bits
    gray = _scan(digit, rng).mean(axis=2)
    return Image.fromarray(np.rint(gray * top).astype(np.uint16))


def _palette(digit: Array, rng: np.random.Generator) -> Image.Image:
    return _image(_scan(digit, rng)).quantize(int(rng.integers(3, 17)))


def _one_bit(digit: Array, rng: np.random.Generator) -> Image.Image:
    return _image(1 - _strokes(digit, rng)).convert("1", dither=Image.Dither.NONE)


def _cmyk(digit: Array, rng: np.random.Generator) -> Image.Image:
    return _image(_scan(digit, rng)).convert("CMYK")


def _exif_turned(digit: Array, rng: np.random.Generator) -> Image.Image:
    orientation, turn = (
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_90),
        (8, Image.Transpose.ROTATE_270),
    )[int(rng.integers(3))]
    picture = _image(_scan(digit, rng)).transpose(turn)
    picture.getexif()[0x0112] = orientation
    return picture


def _plain(digit: Array, rng: np.random.Generator) -> Image.Image:
    return _image(_scan(digit, rng))


def _tiny(digit: Array, rng: np.random.Generator) -> Image.Image:
    strokes = _strokes(digit, rng, (140, 100), (0.85, 0.95), wander=0.02)
    return _image(1 - strokes * rng.uniform(0.7, 1)).resize((10, 14), Image.Resampling.BOX)


def _huge(digit: Array, rng: np.random.Generator) -> Image.Image:
    strokes = _strokes(digit, rng, (750, 1000), (0.3, 0.6), wander=0.2)
    picture = _inked(_paper((750, 1000), rng, 0.01), strokes, _pen(rng)) * _light((750, 1000), rng)
    return _image(picture, rng, 0.01).resize((4000, 3000), Image.Resampling.BILINEAR)


def _desk(digit: Array, rng: np.random.Generator) -> Image.Image:
    y, x = np.mgrid[0 : 1 : SIDE * 1j, 0 : 1 : SIDE * 1j]
    desk = rng.uniform(0.1, 0.4) * np.array([1, 0.8, 0.6]) + 0.03 * _noise((SIDE, SIDE), 3, rng)[:, :, None]
    on_desk = np.zeros((SIDE, SIDE), np.bool_)
    for place in rng.permutation(np.array([x, y, 1 - x, 1 - y]))[: int(rng.integers(1, 3))]:
        on_desk |= place + rng.uniform(-0.08, 0.08) * (x + y) < rng.uniform(0.03, 0.15)
    picture = np.where(on_desk[:, :, None], desk, _inked(_paper((SIDE, SIDE), rng), _strokes(digit, rng), _pen(rng)))
    return _image(_blurred(picture.astype(np.float32), 0.8) * _light((SIDE, SIDE), rng), rng, 0.015)


def _phone(digit: Array, rng: np.random.Generator) -> Image.Image:
    size = (720, 540)
    strokes = _strokes(digit, rng, size, (0.3, 0.55), wander=0.1, angle=rng.uniform(-6, 6))
    sheet = _image(_inked(_paper(size, rng, 0.012), strokes, _pen(rng)))
    tilt = [1, rng.uniform(-0.06, 0.06), 0, rng.uniform(-0.06, 0.06), 1, 0, *rng.uniform(-0.0003, 0.0003, 2)]
    tilt[2], tilt[5] = -tilt[1] * size[0] / 2, -tilt[3] * size[1] / 2  # about the middle
    seen = sheet.transform(sheet.size, Image.Transform.PERSPECTIVE, tilt, Image.Resampling.BICUBIC, fillcolor="#4a3c30")
    values = np.asarray(seen, np.float32) / 255 * _light(size, rng)
    return _image(_blurred(values, rng.uniform(0.6, 1.5)), rng, rng.uniform(0.01, 0.035))


def _screenshot(digit: Array, rng: np.random.Generator) -> Image.Image:
    frame, ground = (rng.uniform(0, 0.6), 1.0) if rng.random() < 0.7 else (0.9, 0.12)
    picture = np.full((SIDE, SIDE, 3), ground, np.float32)
    inset, thick = int(rng.integers(0, 20)), int(rng.integers(1, 9))
    within = slice(inset, SIDE - inset), slice(inset, SIDE - inset)
    picture[within] = frame
    within = slice(inset + thick, SIDE - inset - thick), slice(inset + thick, SIDE - inset - thick)
    picture[within] = ground
    strokes = _strokes(digit, rng, tall=(0.4, 0.6))[:, :, None]
    return _image(picture * (1 - strokes) + (1 - ground) * strokes)


KINDS: dict[str, Kind] = {
    "straight": Kind(_straight),
    "paper texture": Kind(_paper_texture),
    "shadow": Kind(_shadow, "jpg", {"quality": 85}),
    "lined paper": Kind(_lined),
    "grid paper": Kind(_grid),
    "colored ink": Kind(_colored),
    "pencil": Kind(_pencil),
    "blur": Kind(_blur, "jpg", {"quality": 85}),
    "strong jpeg": Kind(_jpeg, "jpg", {"quality": 8}),
    "big margins": Kind(_margins),
    "rotated": Kind(_rotated),
    "white on black": Kind(_white_on_black),
    "black on nothing": Kind(_on_nothing(0.0)),
    "white on nothing": Kind(_on_nothing(1.0)),
    "16-bit gray": Kind(_sixteen_bit),
    "palette": Kind(_palette),
    "1-bit": Kind(_one_bit),
    "cmyk jpeg": Kind(_cmyk, "jpg"),
    "turned by exif": Kind(_exif_turned, "jpg"),
    "webp": Kind(_plain, "webp", {"quality": 50}),
    "gif": Kind(_plain, "gif"),
    "tiny": Kind(_tiny),
    "huge": Kind(_huge, "jpg", {"quality": 80}),
    "desk at the edge": Kind(_desk, "jpg", {"quality": 85}),
    "phone photo": Kind(_phone, "jpg", {"quality": 60}),
    "screenshot with a frame": Kind(_screenshot),
}
