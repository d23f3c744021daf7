"""All runs: which one is meant, which is the latest, and a list of them."""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backprop_cli.errors import BackpropError, ModelFileError, RunDirectoryError
from backprop_cli.files import clean, read_bounded, remove_litter, write_atomic
from backprop_cli.store.run_directory import (
    CONFIG,
    METRICS,
    MODEL,
    NAME,
    RUNS,
    is_directory,
    is_run,
    mode_of,
    parse_metrics,
    read_metrics_text,
)

LATEST = RUNS / "latest"
USED = RUNS / ".use"  # no run's name begins with a dot
VARIABLE = "BACKPROP_MODEL"
PRETRAINED = Path(__file__).parents[1] / "pretrained.safetensors"


def write_latest(run: Path) -> None:
    """Note in `runs/latest`, in the working directory, that this run has the newest model.

    Raises:
        OSError: When it cannot be written; the run itself is not affected.
    """
    RUNS.mkdir(exist_ok=True)
    remove_litter(RUNS, locked=False)
    absolute = run.resolve()
    is_inside = absolute.parent == RUNS.resolve() and NAME.fullmatch(absolute.name)
    write_atomic(LATEST, os.fsencode(f"{absolute.name if is_inside else absolute}\n"))


def write_used(model: Path | None) -> None:
    """Note in `runs/.use`, in the working directory, which model is meant where none is named; None: the latest.

    A model below the working directory is noted as seen from there, so that both may be moved together.

    Raises:
        OSError: When it cannot be written.
    """
    if model is None:
        USED.unlink(missing_ok=True)
    else:
        RUNS.mkdir(exist_ok=True)
        write_atomic(USED, os.fsencode(f"{PRETRAINED.stem if model == PRETRAINED else _seen_from_here(model)}\n"))


def _seen_from_here(model: Path) -> str:
    """Return the path of a model, relative where it is below the working directory; never a mere name."""
    absolute, here = model.resolve(), Path.cwd().resolve()
    inside = absolute.is_relative_to(here)
    return os.path.join(".", absolute.relative_to(here)) if inside else str(absolute)  # noqa: PTH118  (keeps the dot)


def chosen_model() -> tuple[str, str] | None:
    """Return the model that is meant where none is named, and who said so; None: the latest.

    Raises:
        ModelFileError: `runs/.use` cannot be read.
    """
    if reference := os.environ.get(VARIABLE):
        return reference, VARIABLE
    try:
        text = os.fsdecode(read_bounded(USED, 2**14)).removesuffix("\n")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as cause:
        raise ModelFileError(f"{USED}: {clean(cause.strerror or cause)}") from cause
    return text, str(USED)


def find_model(reference: str | None = None, *, or_pretrained: bool = False) -> Path:
    """Return the model file that a user means.

    Args:
        reference: A model file, a run directory, a run's name under `runs/`, `latest`, or `pretrained`, the model that
            travels in the package; None: what BACKPROP_MODEL names, else what `use` has chosen, else the latest.
        or_pretrained: Fall back to that one where nothing has been trained yet.

    Raises:
        ModelFileError: When there is none; the message says what was looked at.
    """
    if reference is None and (chosen := chosen_model()) is not None:
        try:
            return find_model(chosen[0])
        except ModelFileError as problem:
            raise ModelFileError(f"{chosen[1]}: {problem.problems[0]}") from problem
    if reference == PRETRAINED.stem and PRETRAINED.is_file():
        return PRETRAINED
    tried = _candidates(reference, ModelFileError)
    if not tried and or_pretrained and PRETRAINED.is_file():
        return PRETRAINED
    if not tried:
        raise ModelFileError("no model yet", advice="train")
    for path in tried:
        if is_directory(path):
            if mode_of(path / MODEL) is not None:
                return path / MODEL
        elif mode_of(path) is not None:
            return path
    for path in tried:
        if is_directory(path):
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
        if is_run(path):
            return path
    for path in tried:
        if mode_of(path) is not None:
            raise RunDirectoryError(f"{clean(path)}: not a run (it has no {CONFIG})")
    raise RunDirectoryError(f"{_shown(reference)}: no such run; looked at {_listed(tried)}")


def metrics_beside(model: Path) -> list[dict[str, object]]:
    """Return the metrics of the run that a model file stands in, torn lines left out.

    Raises:
        RunDirectoryError: It stands in no run, or that has no metrics.
    """
    run = model.parent
    if not is_run(run):
        raise RunDirectoryError(f"{clean(model)}: not in a run's directory, where the figures of its training would be")
    rows = [row.values for row in parse_metrics(read_metrics_text(run / METRICS))]
    if not rows:
        raise RunDirectoryError(f"{clean(run / METRICS)}: no figures of a training")
    return rows


def is_unfinished(model: Path) -> bool:
    """Return whether a model file stands in a run that was stopped before its end."""
    try:
        return metrics_beside(model)[-1].get("stop_reason") not in ("completed", "early_stopping")
    except RunDirectoryError:  # in no run, or one without figures
        return False


def _candidates(reference: str | None, error: type[BackpropError]) -> list[Path]:
    """Return the paths that a reference may mean, the likeliest first; none where `latest` is not there yet."""
    if reference is None or reference == "latest" or (Path(reference) == LATEST and not is_directory(LATEST)):
        latest = _read_latest(error)
        return [] if latest is None else [latest]
    if not reference:
        raise error("the name of a run or model is empty")
    paths = [Path(reference)]
    if NAME.fullmatch(reference):
        paths.append(RUNS / reference)
    return paths


def _read_latest(error: type[BackpropError]) -> Path | None:
    """Return the run that `runs/latest` names; None when there is no such file."""
    if is_directory(LATEST):  # a run may have been given this very name
        return LATEST
    try:
        text = os.fsdecode(read_bounded(LATEST, 2**14)).removesuffix("\n")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as cause:
        raise error(f"{LATEST}: {clean(cause.strerror or cause)}") from cause
    path = Path(text)
    if not (path.is_absolute() or NAME.fullmatch(text)):
        raise error(f"{LATEST}: does not name a run; remove it, or name a run yourself")
    return path if path.is_absolute() else RUNS / text


def _shown(reference: str | None) -> str:
    return clean(LATEST if reference is None else reference)


def _listed(paths: list[Path]) -> str:
    return " and ".join(clean(path) for path in paths)


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
        has_model: There is a model, perhaps of a training that was stopped.
    """

    name: str
    path: Path
    epochs: int
    best_epoch: int | None
    val_loss: float | None
    val_accuracy: float | None
    is_finished: bool
    has_model: bool

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
            "has_model": self.has_model,
        }


def list_runs(root: Path = RUNS) -> list[RunInfo]:
    """Return the runs in a directory by name, digits-2 before digits-10; files that cannot be read count as empty."""
    try:
        paths = sorted(root.iterdir(), key=_natural_key)
    except OSError:
        return []
    return [describe_run(path) for path in paths if is_run(path)]


def newest_runs(*, with_model: bool = False, root: Path = RUNS) -> list[str]:
    """Return the names of the runs, the newest first, and `latest` where it is known; no file is opened.

    Args:
        with_model: Only those that have one.
        root: Where they lie.
    """
    wanted, found = MODEL if with_model else CONFIG, []
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            with suppress(OSError):  # gone, or not ours to look into
                if NAME.fullmatch(entry.name) and is_run(Path(entry)) and mode_of(Path(entry) / wanted) is not None:
                    found.append((entry.stat().st_mtime, entry.name))
    names = [name for _, name in sorted(found, reverse=True)]
    return [*names, "latest"] if mode_of(root / "latest") is not None else names


def _natural_key(path: Path) -> tuple[str, int, str]:
    stem, _, number = path.name.rpartition("-")
    if re.fullmatch(r"[0-9]{1,9}", number):
        return stem, int(number), path.name
    return path.name, 0, path.name


def describe_run(path: Path) -> RunInfo:
    """Return what a run's files tell of it."""
    try:
        rows = parse_metrics(read_metrics_text(path / METRICS))
    except RunDirectoryError:
        rows = []
    has_model = mode_of(path / MODEL) is not None
    if not rows:
        return RunInfo(path.name, path, 0, None, None, None, is_finished=False, has_model=has_model)
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
        is_finished=stopped_well and has_model,
        has_model=has_model,
    )
