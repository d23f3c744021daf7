"""The data of a run: where they lie now, and whether they are still what it was trained on.

Beside the paths in its config a run records, in `environment.json`, where each source lies as seen from its directory,
and a fingerprint of what was read there. So a run that was moved together with its data finds them, and other data in
their place are told from them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from backprop_cli.config.config import Config, config_of
from backprop_cli.data.readers.shared import ProgressCallback
from backprop_cli.data.sources import DataSettings, file_of, is_path
from backprop_cli.errors import DataError, RunDirectoryError
from backprop_cli.experiment.split_data import SplitData
from backprop_cli.files import clean
from backprop_cli.store.model_file import Model
from backprop_cli.store.run_directory import RunDirectory, is_run

Environment = Mapping[str, object]


def data_record(split_data: SplitData, run: Path) -> dict[str, dict[str, object]]:
    """Return what a run records of its data: by the key of each source where it lies, and what it holds."""
    sources = _sources(split_data.settings)  # but for a test part that the source itself brings
    paths = {key: {"path": seen_from(run, source)} for key, source in sources.items()}
    return {key: paths.get(key, {}) | asdict(one) for key, one in split_data.fingerprints.items()}


def load_run_data(
    config: Config,
    run: Path,
    environment: Environment,
    *,
    source: str | None = None,
    progress: ProgressCallback = None,
) -> SplitData:
    """Return the data that a run was trained on, from where they lie now: as seen from the run, else as in its config.

    Args:
        config: The run's.
        run: Its directory.
        environment: What it has recorded; without a fingerprint, any data are taken for its own.
        source: Where `data.source` lies now, where the user says so.
        progress: Is told how many picture files of how many have been read.

    Raises:
        DataError: They are gone, or no longer what they were.
    """
    settings = config.data if source is None else replace(config.data, source=source)
    found = placed(settings, run, environment, but="" if source is None else "source")
    problems = []
    for data in [found] if found == settings else [found, settings]:
        try:
            return _checked(replace(config, data=data), run, environment, progress, is_named=source is not None)
        except DataError as problem:
            problems.append(problem)
    raise problems[0]


def load_model_data(model: Model, *, where: str, path: Path | None) -> SplitData:
    """Return the data that a model was made with, split as then, without what only training sees beside them.

    Args:
        model: What a model file holds.
        where: What messages call it.
        path: Its file, which may stand in a run; None for one that was never written.

    Raises:
        ConfigError: Its config is not one of this version.
        DataError: The data are gone, or no longer what they were.
    """
    config = config_of(model.config, where=f"{where}: config")
    config = replace(config, data=replace(config.data, extra=()))
    run = Path() if path is None else path.parent
    found = load_run_data(config, run, {} if path is None or not is_run(run) else environment_of(run))
    size, classes = tuple(model.preprocessing["picture"]), model.classes
    if found.dataset.picture_size != size or found.dataset.classes != classes:
        change = "pictures of another size" if found.dataset.picture_size != size else "other classes"
        raise DataError(f"{found.settings.source}: no longer what {clean(where)} was trained on: {change}")
    return found


def placed(settings: DataSettings, run: Path, environment: Environment, *, but: str = "") -> DataSettings:
    """Return settings whose sources are where a run has recorded them, where something is there now.

    Args:
        settings: Of the data.
        run: The directory from which the recorded paths lead; none leads from anywhere else.
        environment: What it has recorded.
        but: The key of a source that stays as it is.
    """
    recorded = _recorded(environment)

    def place(key: str, source: str) -> str:
        path = recorded.get(key, {}).get("path")
        if key == but or not is_path(source) or not isinstance(path, str) or os.path.isabs(path):  # noqa: PTH117
            return source
        here = os.path.normpath(os.path.join(os.path.abspath(run), path))  # noqa: PTH100, PTH118  (as it was recorded)
        return here if os.path.exists(file_of(here)) else source  # noqa: PTH110  (False for what is no file name)

    return _with_sources(settings, place)


def _checked(
    config: Config, run: Path, environment: Environment, progress: ProgressCallback, *, is_named: bool
) -> SplitData:
    """Return a config's data if they hold what a run has recorded."""
    sources, recorded = _sources(config.data), _recorded(environment)
    about = {"test_source": f"{config.data.source}: its test part"}
    about |= {key: source if key == "source" else f"data.{key}: {source}" for key, source in sources.items()}
    for key, source in sources.items():
        if is_path(source) and not os.path.exists(file_of(source)):  # noqa: PTH110  (as above)
            raise DataError(f"{about[key]}: there is no such file or folder")
    found = SplitData.load(config, progress)
    if "rows" in recorded.get("source", {}) and ("test_source" in recorded) != ("test_source" in found.fingerprints):
        parts = "its test part is gone" if "test_source" in recorded else "it has a test part of its own now"
        raise DataError(f"{about['source']}: no longer what {clean(run)} was trained on: {parts}")
    for key, one in found.fingerprints.items() if recorded else ():
        if (change := one.change(recorded.get(key, {}))) is not None:
            kept = "not" if is_named and key == "source" else "no longer"
            raise DataError(f"{about[key]}: {kept} what {clean(run)} was trained on: {change}")
    return found


def environment_of(run: Path) -> Environment:
    """Return what a run has recorded.

    Raises:
        DataError: That cannot be read.
    """
    try:
        return RunDirectory(run, None, is_new=False).read_environment()  # no lock: it is only read
    except RunDirectoryError as problem:
        raise DataError(*problem.args) from problem


def _recorded(environment: Environment) -> dict[str, Mapping[str, object]]:
    """Return what was recorded of each source; for runs older than the records, the digest of the first one."""
    data, digest = environment.get("data"), environment.get("data_sha256")
    found: dict[str, Mapping[str, object]] = {}
    if isinstance(data, dict):
        found = {key: one for key, one in data.items() if isinstance(one, dict)}
    return found if digest is None else found | {"source": {"sha256": digest, **found.get("source", {})}}


def _sources(settings: DataSettings) -> dict[str, str]:
    """Return the sources that settings name, by their keys."""
    found: dict[str, str] = {}
    _with_sources(settings, lambda key, source: found.setdefault(key, source))
    return found


def _with_sources(settings: DataSettings, place: Callable[[str, str], str]) -> DataSettings:
    """Return settings with what `place` gives for the key and the name of each source."""
    test = settings.test_source
    return replace(
        settings,
        source=place("source", settings.source),
        test_source=None if test is None else place("test_source", test),
        extra=tuple(replace(one, source=place(f"extra.{k}", one.source)) for k, one in enumerate(settings.extra)),
    )


def seen_from(run: Path, source: str) -> str | None:
    """Return where a source lies as seen from a run; None if not a file, or without a relative path."""
    try:
        return os.path.relpath(source, run) if is_path(source) else None
    except ValueError:  # on another drive
        return None
