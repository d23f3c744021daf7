"""What a user can fix: each error carries its lines for people and the exit code of the command that met it.

A message reads "where: what is wrong; what would be right".
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

ADVICE = {
    "train": "train one first",
    "resume": "resume it, or choose another directory",
    "directory": "choose another directory",
    "template": "start from a bundled config",
    "jobs": "perhaps there was too little memory for so many jobs; try fewer",
    "other_data": "other data to measure on may be named",
    "run_data": "restore it, or start a new run",
    "verified_data": "restore it to verify the run",
}
"""What to do, by name: a command says it in words of its own, which name its options."""


class BackpropError(Exception):
    """A mistake outside this program: in its usage, a config, some data, a model file or a picture.

    Args:
        problems: A line for each mistake.
        advice: What to do about the last one, a name in `ADVICE`.
        about: What that is about, such as a directory.
    """

    exit_code = 2

    def __init__(self, *problems: str, advice: str | None = None, about: str = "") -> None:
        super().__init__(*problems)
        self.advice, self.about = advice, about

    def __str__(self) -> str:
        return "\n".join(self.problems)

    @property
    def problems(self) -> tuple[str, ...]:
        """A line for each mistake."""
        return self.worded(ADVICE)

    def worded(self, advice: Mapping[str, str]) -> tuple[str, ...]:
        """Return a line for each mistake, with the advice in these words; they may hold {about}."""
        if self.advice is None:
            return self.args
        *others, last = self.args
        return (*others, f"{last}; {advice[self.advice].format(about=self.about)}")


class UsageError(BackpropError, ValueError):
    """Arguments that do not fit together, or that nothing can be done with."""


class ArgumentError(UsageError):
    """One argument that nothing can be done with; each line begins with its name, such as `split test: `."""


class ConfigError(BackpropError):
    """A config that cannot be used."""


class DataError(BackpropError):
    """Training or test data that cannot be used."""


class ModelFileError(BackpropError):
    """A model file or checkpoint that cannot be used."""


class RunDirectoryError(BackpropError):
    """A run directory that is in use, used up, or not one at all."""


class PictureError(BackpropError):
    """A picture that cannot be read, or that shows nothing."""

    exit_code = 1


class DivergenceError(BackpropError):
    """Training diverged: the loss or a weight is no longer finite."""

    exit_code = 1


@contextmanager
def advising(advice: str) -> Iterator[None]:
    """Let every DataError inside the block say what to do about it, a name in `ADVICE`."""
    try:
        yield
    except DataError as problem:
        raise DataError(*problem.args, advice=advice) from problem


def reason_of(error: BaseException) -> str:
    """Return one short line about an error that a library raised, whatever it wrote."""
    return " ".join(str(error).split())[:100] or type(error).__name__


def quoted(text: object) -> str:
    """Return a value that a user wrote, in quotes, in one line and not too long."""
    return f'"{" ".join(str(text).split())[:60]}"'


def listed(first: Sequence[str], n_all: int) -> str:
    """Return the first names with commas between them, and how many more there are of all."""
    return ", ".join(first) + (f" and {n_all - len(first):,} more" if n_all > len(first) else "")


def require(*rules: tuple[bool, str]) -> None:
    """Raise one ValueError for all the rules that do not hold, a line each.

    Args:
        rules: What must hold, and what is wrong otherwise: `key: what is wrong; what would be right`.
    """
    broken = [message for holds, message in rules if not holds]
    if broken:
        raise ValueError("\n".join(broken))
