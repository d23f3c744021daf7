"""The run directory `runs/<name>-<n>/`: its lock, config, metrics and checkpoint.

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
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from backprop_cli.errors import ModelFileError, RunDirectoryError
from backprop_cli.files import (
    clean,
    list_litter,
    naming_errors,
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
CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoint.safetensors"
MODEL = "model.safetensors"
START = "from.safetensors"
CHECKPOINT_WAY_OUT = "remove it to start again from epoch 1, or restore a copy"

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
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
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a valid name for a run")
        path = _make_numbered(name) if run_dir is None else _make_literal(run_dir)
        run = cls(path, _take_lock(path), is_new=run_dir is None)
        try:
            _refuse_used(path)
            remove_litter(path, locked=True)
            with naming_errors(path):
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
        if not is_run(path):
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

    def write_start(self, content: bytes) -> None:
        """Write the model that the run goes on from; before the config, so that no run is without it."""
        write_atomic(self.path / START, content)

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
        write_record(self.path / ENVIRONMENT, environment)

    def read_environment(self) -> dict[str, object]:
        """Return what `write_environment` wrote; nothing when the run was killed before that.

        Raises:
            RunDirectoryError: When it cannot be read or is not a JSON object.
        """
        path = self.path / ENVIRONMENT
        if mode_of(path) is None:
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
        with naming_errors(path):
            write_all(self._metrics, line.encode())

    def sync_metrics(self) -> None:
        """Wait until the lines written so far are on the disk; `save_checkpoint` does this by itself."""
        if self._metrics is not None:
            with naming_errors(self.path / METRICS):
                os.fsync(self._metrics)

    def _close_metrics(self) -> None:
        if self._metrics is not None:
            descriptor, self._metrics = self._metrics, None  # closed, whatever close says
            with naming_errors(self.path / METRICS):
                os.close(descriptor)

    def cut_metrics(self, n_rows: int) -> None:
        """Keep the first `n_rows` rows; drop the others and every torn line. What stays keeps its bytes."""
        self._close_metrics()
        path = self.path / METRICS
        old = read_metrics_text(path)
        new = "".join(f"{row.line}\n" for row in parse_metrics(old)[:n_rows])
        if new != old:
            write_atomic(path, new.encode("utf-8"))

    def read_metrics(self) -> list[dict[str, object]]:
        """Return the rows written so far, torn lines left out."""
        return [row.values for row in parse_metrics(read_metrics_text(self.path / METRICS))]

    def save_checkpoint(self, tensors: "Mapping[str, NDArray[Any]]", metadata: Mapping[str, Any]) -> None:
        """Write the checkpoint, after making sure that no metrics row it counts on can get lost."""
        from backprop_cli.store import tensor_file

        self.sync_metrics()
        tensor_file.save_checkpoint(self.checkpoint_path, tensors, metadata)

    def load_checkpoint(self) -> "tuple[dict[str, NDArray[Any]], dict[str, Any]] | None":
        """Return the checkpoint's tensors and metadata, or None when the run was stopped before its first one.

        Raises:
            ModelFileError: When it is damaged, with the ways out.
        """
        from backprop_cli.store import tensor_file

        try:
            self.checkpoint_path.lstat()  # not where a link leads: silently retraining loses the old run
        except FileNotFoundError:
            return None
        try:
            return tensor_file.load_checkpoint(self.checkpoint_path)
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
    if is_run(path):
        raise RunDirectoryError(f"{clean(path)}: is already a run", advice="resume", about=clean(path))
    if set(path.iterdir()) - set(list_litter(path)):
        raise RunDirectoryError(f"{clean(path)}: is not empty", advice="directory")


def mode_of(path: Path) -> int | None:
    """Return what a path leads to, as `stat` has it; None for nothing that can be reached."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None


def is_directory(path: Path) -> bool:
    """Return whether a path leads to a directory."""
    return stat.S_ISDIR(mode_of(path) or 0)


def is_run(path: Path) -> bool:
    """Return whether a path leads to a run: a directory with a config."""
    return is_directory(path) and mode_of(path / CONFIG) is not None


# Texts and metrics


def write_record(path: Path, record: Mapping[str, object]) -> None:
    """Write plain data as JSON, atomically."""
    text = json.dumps(record, indent=2, sort_keys=True, allow_nan=False)
    write_atomic(path, f"{text}\n".encode())


def read_record(path: Path) -> dict[str, Any]:
    """Return what `write_record` wrote; nothing where that is not there, or no JSON object."""
    try:
        return _parse_object(_read_text(path)) or {}
    except RunDirectoryError:
        return {}


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


def read_metrics_text(path: Path) -> str:
    """Return the metrics file's text; bytes that are not UTF-8 make torn lines, a missing file has none."""
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


def parse_metrics(text: str) -> list[_Row]:
    """Return each line that is a whole row: a torn one lacks its closing brace."""
    rows = []
    for line in text.split("\n"):
        values = (_parse_object(line) if line else None) or {}
        epoch = values.get("epoch")
        if type(epoch) is int:
            rows.append(_Row(line, epoch, values))
    return rows
