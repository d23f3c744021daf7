"""Files of other programs, none of which is ever opened here: the line of Python that makes an npz of each is told."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from backprop_cli.data.readers.shared import Wanted
from backprop_cli.errors import DataError
from backprop_cli.files import open_regular

_HEAD = 16  # bytes
_PLAIN = re.compile(r"[\w./ +@,=-]{1,200}")  # a path that may stand in quotes in any shell
_NEVER = rb"(?!)"
_IS_CODE = "a pickle, which may run any code when it is opened: it is not read. If you trust it,"
_PIXELS = "d.to_numpy().reshape(-1, 28, 28)"


class Form(NamedTuple):
    """One form of files.

    Attributes:
        told: What it is, and that it is not read.
        endings: What the names of such files end in.
        begin: A regular expression for what they begin with; of packed ones, behind gzip's own first two bytes.
        opening: Python that makes `d` of a file, which IN stands for.
        images: The pictures in `d`, (n, height, width).
        labels: The labels in `d`, (n,).
    """

    told: str
    endings: tuple[str, ...]
    begin: bytes
    opening: str
    images: str = "d['images']"
    labels: str = "d['labels']"


FORMS = (
    Form(
        "MATLAB files are not read;",
        (".mat",),
        rb"MATLAB 5\.0",
        "import numpy, scipy.io; d = scipy.io.loadmat(IN)",
        "d['X'].mean(2).transpose(2, 0, 1)",  # as SVHN has it, (height, width, 3, n)
        "d['y'].ravel()",
    ),
    Form(
        "MATLAB files are not read;",
        (".mat",),
        rb"MATLAB 7\.3",  # HDF5, the axes the other way round
        "import h5py, numpy; d = h5py.File(IN)",
        "d['X'][:].mean(1).transpose(0, 2, 1)",
        "d['y'][:].ravel()",
    ),
    Form(
        _IS_CODE,
        (".pkl.gz", ".pickle.gz"),
        rb"\x1f\x8b\x80[\x02-\x05]",
        "import gzip, numpy, pickle; d = pickle.load(gzip.open(IN), encoding='latin1')[0]",
        "d[0].reshape(-1, 28, 28)",  # as mnist.pkl.gz has it
        "d[1]",
    ),
    Form(
        _IS_CODE,
        (".pkl", ".pickle"),
        rb"\x80[\x02-\x05]",
        "import numpy, pickle; d = pickle.load(open(IN, 'rb'), encoding='latin1')",
    ),
    Form(_IS_CODE, (".joblib",), _NEVER, "import joblib, numpy; d = joblib.load(IN)"),
    Form(
        "PyTorch files are not read;",
        (".pt", ".pth"),
        _NEVER,
        "import numpy, torch; d = torch.load(IN, weights_only=True)",
        "d[0].numpy()",
        "d[1].numpy()",
    ),
    Form(
        "Parquet is not read;",
        (".parquet",),
        rb"PAR1",
        "import io, numpy, pandas; from PIL import Image; d = pandas.read_parquet(IN)",
        "[numpy.array(Image.open(io.BytesIO(i['bytes']))) for i in d['image']]",  # as Hugging Face has it
        "d['label']",
    ),
    Form(
        "ARFF is not read;",
        (".arff",),
        rb"(?i)@relation",
        "import numpy; from scipy.io import arff; d, m = arff.loadarff(IN); *p, y = m.names()",
        "numpy.stack([d[k] for k in p], 1).reshape(-1, 28, 28)",
        "d[y].astype(str)",
    ),
    Form(
        "HDF5 is not read;",
        (".h5", ".hdf5"),
        rb"\x89HDF",
        "import h5py, numpy; d = h5py.File(IN)",
        "d['images'][:]",
        "d['labels'][:]",
    ),
    Form(
        "Feather is not read;",
        (".feather",),
        rb"ARROW1|FEA1",
        "import numpy, pandas; d = pandas.read_feather(IN); y = d.pop('label')",
        _PIXELS,
        "y",
    ),
    Form(
        "Excel files are not read;",
        (".xlsx",),
        _NEVER,
        "import numpy, pandas; d = pandas.read_excel(IN); y = d.pop('label')",
        _PIXELS,
        "y",
    ),
)


def matches(source: str) -> bool:
    """Return whether a source is such a file, by its name or by what it begins with."""
    return not Path(source).is_dir() and _form_of(Path(source)) is not None


def load(source: str, wanted: Wanted) -> NoReturn:
    """Refuse a file.

    Raises:
        DataError: Always, with what to do about it.
    """
    path, form = Path(source), _form_of(Path(source))
    if form is None or not os.path.lexists(path):
        raise DataError(f"{source}: there is no such file")
    raise DataError(f"{source}: {form.told} this converts it to an npz (adapt the names): {_command(path, form)}")


def _form_of(path: Path) -> Form | None:
    """Return the form of a file, its name weighing more than what it begins with; None for all others."""
    name, head = path.name.lower(), _head(path)

    def likeness(form: Form) -> int:
        return 2 * name.endswith(form.endings) + bool(re.match(form.begin, head))

    form = max(FORMS, key=likeness)
    return form if likeness(form) else None


def _head(path: Path) -> bytes:
    """Return what a file begins with, of a packed one behind gzip's own first two bytes; b"" where there is none."""
    with suppress(OSError), open_regular(path) as file:
        head = file.read(_HEAD)
        if head[:2] != b"\x1f\x8b":
            return head
        file.seek(0)
        with suppress(OSError, EOFError, zlib.error):
            return head[:2] + gzip.GzipFile(fileobj=file).read(_HEAD)
    return b""


def _command(path: Path, form: Form) -> str:
    """Return the command that makes an npz of a file, beside it."""
    given = str(path) if _PLAIN.fullmatch(str(path)) else f"FILE{form.endings[0]}"
    ending = next((ending for ending in form.endings if given.lower().endswith(ending)), "")
    made = f"{given[: len(given) - len(ending)]}.npz"
    saving = f"numpy.savez('{made}', images={form.images}, labels={form.labels})"
    return f'python -c "{form.opening.replace("IN", repr(given), 1)}; {saving}"'
