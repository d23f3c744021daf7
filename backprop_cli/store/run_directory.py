"""The run directory `runs/<name>-<n>/`: its lock, config, metrics and checkpoint; and how runs and models are found.

One training at a time works in a run directory: it holds a lock on the directory itself, which ends with the process,
however that ends. Whatever temporaries stand there when the lock is taken belong to the dead.
"""

import errno
import json
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from backprop_cli.errors import BackpropError, ModelFileError, RunDirectoryError
from backprop_cli.files import (
    clean,
    list_litter,
    naming,
    parse_json,
    read_bounded,
    remove_litter,
    sync_directory,
    write_all,
    write_atomic,
)

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not on Windows: there, nothing keeps two trainings apart
    fcntl = None

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backprop_cli.store.model_file import Model

RUNS = Path("runs")
LATEST = RUNS / "latest"
CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoint.safetensors"
PRETRAINED = Path(__file__).parents[1] / "pretrained.safetensors"
MODEL = "model.safetensors"
CHECKPOINT_WAY_OUT = "remove it to start again from epoch 1, or restore a copy"

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_MAX_TEXT_BYTES = 2**20
_MAX_METRICS_BYTES = 256 * 2**20
_NO_LOCKS = {errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class RunDirectory:
    """One run's directory, locked for this process until `close`; made by `create` or `open`.

    Attributes:
        path: The directory.
    """

    def __init__(self, path: Path, lock: int | None, *, is_new: bool) -> None:
        self.path = path
        self._lock = lock
        self._is_new = is_new
        self._metrics: int | None = None

    @classmethod
    def create(cls, name: str, run_dir: Path | None = None) -> Self:
        """Make a directory for a new run; write its config first, for that makes it a run.

        Args:
            name: The config's name: letters, digits, `.`, `_` and `-`, not starting with a dot.
            run_dir: This very directory, new or empty; without it, `runs/<name>-<n>` with the next free n.

        Raises:
            RunDirectoryError: When `run_dir` is in use or used; it is left as it was.
            OSError: When the directory cannot be made.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a run")
        path = _make_numbered(name) if run_dir is None else _make_literal(run_dir)
        run = cls(path, _take_lock(path), is_new=run_dir is None)
        try:
            _refuse_used(path)
            remove_litter(path, locked=True)
            with naming(path):
                sync_directory(path.parent)
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def open(cls, path: Path) -> Self:
        """Take up an existing run again, and clear away what a killed process left half-written.

        Raises:
            RunDirectoryError: When it is not a run, or another process is training in it.
        """
        if not _is_run(path):
            raise RunDirectoryError(f"{clean(path)}: not a run (it has no {CONFIG})")
        run = cls(path, _take_lock(path), is_new=False)
        remove_litter(path, locked=True)
        return run

    def close(self) -> None:
        """Let go of the lock; a directory made by `create` in which nothing was written is removed again."""
        try:
            self._close_metrics()
        finally:
            if self._is_new:
                self._is_new = False
                with suppress(OSError):  # it is not empty: the usual case
                    self.path.rmdir()
            if self._lock is not None:
                with suppress(OSError):  # nothing was written through it
                    os.close(self._lock)
                self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def checkpoint_path(self) -> Path:
        """Where the checkpoint stands once there is one."""
        return self.path / CHECKPOINT

    @property
    def model_path(self) -> Path:
        """Where the model stands once there is one."""
        return self.path / MODEL

    def write_config(self, text: str) -> None:
        """Write the resolved config; from now on the directory is a run."""
        write_atomic(self.path / CONFIG, text.encode("utf-8"))

    def read_config(self) -> str:
        """Return the run's config as it was written.

        Raises:
            RunDirectoryError: When it cannot be read, is larger than 1 MB or not UTF-8.
        """
        return _read_text(self.path / CONFIG)

    def write_environment(self, environment: Mapping[str, object]) -> None:
        """Write down what the run was made with: versions, threads, the data's digest."""
        text = json.dumps(environment, indent=2, sort_keys=True, allow_nan=False)
        write_atomic(self.path / ENVIRONMENT, f"{text}\n".encode())

    def read_environment(self) -> dict[str, object]:
        """Return what `write_environment` wrote; nothing when the run was killed before that.

        Raises:
            RunDirectoryError: When it cannot be read or is not a JSON object.
        """
        path = self.path / ENVIRONMENT
        if _mode(path) is None:
            return {}
        value = _parse_object(_read_text(path))
        if value is None:
            raise RunDirectoryError(f"{clean(path)}: not a JSON object")
        return value

    def append_metrics(self, row: Mapping[str, object]) -> None:
        """Append one epoch's figures as a line, in one write: a kill leaves it whole or torn, the lines before intact.

        After `open`, call `cut_metrics` first: a torn line would swallow the next one.

        Args:
            row: Plain JSON data with an int "epoch", counted from 1.

        Raises:
            ValueError: For a number that is not finite.
            OSError: With the file as its `filename`.
        """
        line = json.dumps(row, allow_nan=False, separators=(", ", ": ")) + "\n"
        path = self.path / METRICS
        if self._metrics is None:
            self._metrics = _open_to_append(path)
        with naming(path):
            write_all(self._metrics, line.encode())

    def sync_metrics(self) -> None:
        """Wait until the lines written so far are on the disk; `save_checkpoint` does this by itself."""
        if self._metrics is not None:
            with naming(self.path / METRICS):
                os.fsync(self._metrics)

    def _close_metrics(self) -> None:
        if self._metrics is not None:
            descriptor, self._metrics = self._metrics, None  # closed, whatever close says
            with naming(self.path / METRICS):
                os.close(descriptor)

    def cut_metrics(self, n_rows: int) -> None:
        """Keep the first `n_rows` rows; drop the others and every torn line. What stays keeps its bytes."""
        self._close_metrics()
        path = self.path / METRICS
        old = _read_metrics_text(path)
        new = "".join(f"{row.line}\n" for row in _parse_metrics(old)[:n_rows])
        if new != old:
            write_atomic(path, new.encode("utf-8"))

    def read_metrics(self) -> list[dict[str, object]]:
        """Return the rows written so far, torn lines left out."""
        return [row.values for row in _parse_metrics(_read_metrics_text(self.path / METRICS))]

    def save_checkpoint(self, tensors: "Mapping[str, NDArray[Any]]", metadata: Mapping[str, Any]) -> None:
        """Write the checkpoint, after making sure that no metrics row it counts on can get lost."""
        from backprop_cli.store import model_file

        self.sync_metrics()
        model_file.save_checkpoint(self.checkpoint_path, tensors, metadata)

    def load_checkpoint(self) -> "tuple[dict[str, NDArray[Any]], dict[str, Any]] | None":
        """Return the checkpoint's tensors and metadata, or None when the run was stopped before its first one.

        Raises:
            ModelFileError: When it is damaged, with the ways out.
        """
        from backprop_cli.store import model_file

        try:
            self.checkpoint_path.lstat()  # not where a link leads: training anew in silence loses the old run
        except FileNotFoundError:
            return None
        try:
            return model_file.load_checkpoint(self.checkpoint_path)
        except ModelFileError as error:
            raise ModelFileError(f"{error}; {CHECKPOINT_WAY_OUT}") from error

    def save_model(self, model: "Model") -> None:
        """Write the run's model file."""
        from backprop_cli.store import model_file

        model_file.save_model(self.model_path, model)


# Making, locking, refusing


def _make_numbered(name: str) -> Path:
    """Make `runs/<name>-<n>`, n one more than the highest used; a name taken in between leads to the next one."""
    _make_directory(RUNS)
    used = re.compile(re.escape(name) + r"-([1-9][0-9]{0,8})")
    matches = [used.fullmatch(path.name) for path in RUNS.iterdir()]
    number = max((int(match[1]) for match in matches if match), default=0)
    while True:
        number += 1
        path = RUNS / f"{name}-{number}"
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path


def _make_literal(path: Path) -> Path:
    _make_directory(path)
    return path


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise RunDirectoryError(f"{clean(path)}: is not a directory") from None


def _take_lock(path: Path) -> int | None:
    """Return a descriptor of the directory that holds its lock; None on systems that know no such locks.

    A file system without them (some network ones) goes unlocked rather than unused.
    """
    if fcntl is None:
        return None
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise RunDirectoryError(f"{clean(path)}: another training is running here") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(descriptor)
            raise OSError(error.errno, error.strerror, str(path)) from error
    return descriptor


def _refuse_used(path: Path) -> None:
    """Raise RunDirectoryError for a directory that holds more than temporaries of ours."""
    if _is_run(path):
        raise RunDirectoryError(f"{clean(path)}: is already a run", advice="resume", about=clean(path))
    if set(path.iterdir()) - set(list_litter(path)):
        raise RunDirectoryError(f"{clean(path)}: is not empty", advice="directory")


def _mode(path: Path) -> int | None:
    """Return what a path leads to, as `stat` has it; None for nothing that can be reached."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None


def _is_directory(path: Path) -> bool:
    return stat.S_ISDIR(_mode(path) or 0)


def _is_run(path: Path) -> bool:
    return _is_directory(path) and _mode(path / CONFIG) is not None


# Texts and metrics


def _read_text(path: Path) -> str:
    try:
        return read_bounded(path, _MAX_TEXT_BYTES).decode("utf-8")
    except OSError as error:
        raise RunDirectoryError(f"{clean(path)}: {clean(error.strerror or error)}") from error
    except UnicodeDecodeError:
        raise RunDirectoryError(f"{clean(path)}: not UTF-8 text") from None


def _parse_object(text: str) -> dict[str, object] | None:
    try:
        value = parse_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _open_to_append(path: Path) -> int:
    """Open a file's end; neither a link nor a pipe put in its place is followed or waited for."""
    guards = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | guards, 0o666)


def _read_metrics_text(path: Path) -> str:
    """Return the metrics file's text; bytes that are no UTF-8 make torn lines, a missing file has none."""
    try:
        return read_bounded(path, _MAX_METRICS_BYTES).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise RunDirectoryError(f"{clean(path)}: {clean(error.strerror or error)}") from error


class _Row(NamedTuple):
    line: str
    epoch: int
    values: dict[str, object]

    def number(self, key: str) -> float | None:
        value = self.values.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _parse_metrics(text: str) -> list[_Row]:
    """Return each line that is a whole row: a torn one lacks its closing brace."""
    rows = []
    for line in text.split("\n"):
        values = (_parse_object(line) if line else None) or {}
        epoch = values.get("epoch")
        if type(epoch) is int:
            rows.append(_Row(line, epoch, values))
    return rows


# Finding


def write_latest(run: Path) -> None:
    """Note in `runs/latest`, in the working directory, that this run has the newest model.

    Raises:
        OSError: When it cannot be written; the run itself is none the worse for it.
    """
    RUNS.mkdir(exist_ok=True)
    remove_litter(RUNS, locked=False)
    absolute = run.resolve()
    is_inside = absolute.parent == RUNS.resolve() and _NAME.fullmatch(absolute.name)
    write_atomic(LATEST, os.fsencode(f"{absolute.name if is_inside else absolute}\n"))


def find_model(reference: str | None = None, *, or_pretrained: bool = False) -> Path:
    """Return the model file that a user means.

    Args:
        reference: A model file, a run directory, a run's name under `runs/`, `latest`, which None means too, or
            `pretrained`, the model that travels in the package.
        or_pretrained: Fall back to that one where nothing has been trained yet.

    Raises:
        ModelFileError: When there is none; the message says what was looked at.
    """
    if reference == PRETRAINED.stem and PRETRAINED.is_file():
        return PRETRAINED
    tried = _candidates(reference, ModelFileError)
    if not tried and or_pretrained and PRETRAINED.is_file():
        return PRETRAINED
    if not tried:
        raise ModelFileError("no model yet", advice="train")
    for path in tried:
        if _is_directory(path):
            if _mode(path / MODEL) is not None:
                return path / MODEL
        elif _mode(path) is not None:
            return path
    for path in tried:
        if _is_directory(path):
            raise ModelFileError(f"{clean(path)}: holds no {MODEL}; has it been trained?")
    raise ModelFileError(f"{_shown(reference)}: no such model; looked at {_listed(tried)}")


def find_run(reference: str | None = None) -> Path:
    """Return the run directory that a user means.

    Args:
        reference: A run directory, a run's name under `runs/`, or `latest`, which None means too.

    Raises:
        RunDirectoryError: When there is none; the message says what was looked at.
    """
    tried = _candidates(reference, RunDirectoryError)
    if not tried:
        raise RunDirectoryError("no run yet", advice="train")
    for path in tried:
        if _is_run(path):
            return path
    for path in tried:
        if _mode(path) is not None:
            raise RunDirectoryError(f"{clean(path)}: not a run (it has no {CONFIG})")
    raise RunDirectoryError(f"{_shown(reference)}: no such run; looked at {_listed(tried)}")


def metrics_beside(model: Path) -> list[dict[str, object]]:
    """Return the metrics of the run that a model file stands in, torn lines left out.

    Raises:
        RunDirectoryError: It stands in no run, or that has no metrics.
    """
    run = model.parent
    if not _is_run(run):
        raise RunDirectoryError(f"{clean(model)}: not in a run's directory, where the figures of its training would be")
    rows = [row.values for row in _parse_metrics(_read_metrics_text(run / METRICS))]
    if not rows:
        raise RunDirectoryError(f"{clean(run / METRICS)}: no figures of a training")
    return rows


def _candidates(reference: str | None, error: type[BackpropError]) -> list[Path]:
    """Return the paths that a reference may mean, the likeliest first; none where `latest` is not there yet."""
    if reference is None or reference == "latest" or (Path(reference) == LATEST and not _is_directory(LATEST)):
        latest = _read_latest(error)
        return [] if latest is None else [latest]
    if not reference:
        raise error("the name of a run or model is empty")
    paths = [Path(reference)]
    if _NAME.fullmatch(reference):
        paths.append(RUNS / reference)
    return paths


def _read_latest(error: type[BackpropError]) -> Path | None:
    """Return the run that `runs/latest` names; None when there is no such file."""
    if _is_directory(LATEST):  # a run may have been given this very name
        return LATEST
    try:
        text = os.fsdecode(read_bounded(LATEST, 2**14)).removesuffix("\n")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as cause:
        raise error(f"{LATEST}: {clean(cause.strerror or cause)}") from cause
    path = Path(text)
    if not (path.is_absolute() or _NAME.fullmatch(text)):
        raise error(f"{LATEST}: does not name a run; remove it, or name a run yourself")
    return path if path.is_absolute() else RUNS / text


def _shown(reference: str | None) -> str:
    return clean(LATEST if reference is None else reference)


def _listed(paths: list[Path]) -> str:
    return " and ".join(clean(path) for path in paths)


# Listing


@dataclass(frozen=True, repr=False)
class RunInfo:
    """One run in a list of them; names may hold anything a file name may.

    Attributes:
        name: The directory's name.
        path: The directory.
        epochs: Epochs done, of the last network begun in an ensemble.
        best_epoch: The one with the lowest validation loss, the last one without validation, None before the first.
        val_loss: At the best epoch, nats.
        val_accuracy: At the best epoch, a fraction.
        is_finished: There is a model, and the last row's "stop_reason" names a regular end.
    """

    name: str
    path: Path
    epochs: int
    best_epoch: int | None
    val_loss: float | None
    val_accuracy: float | None
    is_finished: bool

    def __repr__(self) -> str:
        figures = "" if self.val_accuracy is None else f", validation accuracy {100 * self.val_accuracy:.1f} %"
        return f"<RunInfo {clean(self.path)}: {self.epochs} epochs{figures}>"

    def to_dict(self) -> dict[str, Any]:
        """Return the run's entry in the JSON document of `runs`."""
        keys = ("epochs", "best_epoch", "val_loss", "val_accuracy")
        return {
            "run": self.name,
            "path": str(self.path),
            **{key: getattr(self, key) for key in keys},
            "finished": self.is_finished,
        }


def list_runs(root: Path = RUNS) -> list[RunInfo]:
    """Return the runs in a directory by name, digits-2 before digits-10; files that cannot be read count as empty."""
    try:
        paths = sorted(root.iterdir(), key=_natural_key)
    except OSError:
        return []
    return [_describe_run(path) for path in paths if _is_run(path)]


def _natural_key(path: Path) -> tuple[str, int, str]:
    stem, _, number = path.name.rpartition("-")
    if re.fullmatch(r"[0-9]{1,9}", number):
        return stem, int(number), path.name
    return path.name, 0, path.name


def _describe_run(path: Path) -> RunInfo:
    try:
        rows = _parse_metrics(_read_metrics_text(path / METRICS))
    except RunDirectoryError:
        rows = []
    if not rows:
        return RunInfo(path.name, path, 0, None, None, None, is_finished=False)
    last = rows[-1]
    judged = [(loss, row) for row in rows if (loss := row.number("val_loss")) is not None]
    best = min(judged, key=lambda pair: pair[0])[1] if judged else last
    stopped_well = last.values.get("stop_reason") in ("completed", "early_stopping")
    return RunInfo(
        name=path.name,
        path=path,
        epochs=last.epoch,
        best_epoch=best.epoch,
        val_loss=best.number("val_loss"),
        val_accuracy=best.number("val_accuracy"),
        is_finished=stopped_well and _mode(path / MODEL) is not None,
    )
