"""A run trained again, and held against what it has saved."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from typing import Any

from backprop_cli.api.arguments import Reference, named
from backprop_cli.api.training import Events
from backprop_cli.data.readers.shared import ProgressCallback
from backprop_cli.experiment.verification import TOLERANCE, Comparison, Retraining
from backprop_cli.files import clean
from backprop_cli.store.runs import find_run


@dataclass(frozen=True, repr=False)
class Verification(Comparison):
    """How a model trained again stands to the one that was saved.

    Attributes:
        run: The run's directory.
        environment: What is not as it was: name -> (then, now).
        seconds: That it took.
    """

    run: str = ""
    environment: tuple[tuple[str, object, object], ...] = ()
    seconds: float = 0.0

    def __repr__(self) -> str:
        reasons = f" ({'; '.join(self.reasons)})" if self.reasons else ""
        return f"<Verification {clean(self.run)}: {self.verdict} after epoch {self.epochs}{reasons}>"

    @property
    def tolerance(self) -> dict[str, float]:
        """How far apart figures may be that roundings have driven apart."""
        return dict(TOLERANCE)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document of `verify`."""
        return {
            "schema": "backprop.verify/1",
            "run": self.run,
            **{field.name: getattr(self, field.name) for field in fields(Comparison)},
            "environment": {name: {"then": then, "now": now} for name, then, now in self.environment},
            "tolerance": self.tolerance,
            "seconds": round(self.seconds, 3),
        }


class Verifying(Events):
    """A run in training again, event by event; then `verification` tells what came of it. Nothing is written.

    Attributes:
        path: The run's directory.
    """

    def __init__(self, run: Reference | None = None, *, progress: ProgressCallback = None) -> None:
        """Read the run; see `verify`.

        Args:
            run: As there.
            progress: Is told how many picture files of how many have been read.
        """
        self._started = time.perf_counter()
        self.path = find_run(named(run))
        self._retraining = Retraining(self.path, progress)
        super().__init__(self._retraining.experiment, self._retraining.train())

    def verification(self) -> Verification:
        """Close it, and return what came of it."""
        self.close()
        environment = tuple((name, *both) for name, both in self._retraining.environment.items())
        seconds = time.perf_counter() - self._started
        found = self._retraining.result()
        return Verification(**vars(found), run=str(self.path), environment=environment, seconds=seconds)


def verify(run: Reference | None = None) -> Verification:
    """Train a run again from what it has saved, and compare the model's bytes; nothing is written.

    Args:
        run: A run's directory, its name under `runs/`, or `latest`, which None means too.

    Raises:
        RunDirectoryError: There is no such run.
        ModelFileError: It has no model yet, or that is damaged.
        ConfigError: Its config is damaged.
        DataError: Its data is gone, or no longer the same.
    """
    with Verifying(run) as events:
        for _ in events:
            pass
    return events.verification()
