"""The same training in other directories, locales, time zones, terminals and so on: the model is equal to the byte."""

from __future__ import annotations

import json
import random
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from command_line import PROGRAM, process
from faults.surroundings import IN_TERMINAL, Surrounding, check_surroundings
from faults.trials import TRAINING, Tally, repeat

PLACES = (
    Surrounding("another directory", 'mkdir -p a/b; cd a/b; exec "$@"'),
    Surrounding("another run directory", 'exec "$@" --run-dir "$WORK/a b/ü"'),
    Surrounding("another language", env={"LC_ALL": "tr_TR.UTF-8", "LANGUAGE": "tr"}),
    Surrounding("the C locale", env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    Surrounding("another time zone", env={"TZ": "Asia/Kathmandu"}),
    *(Surrounding(f"hash seed {seed}", env={"PYTHONHASHSEED": seed}) for seed in ("0", "1", "4294967295")),
    Surrounding("a terminal", IN_TERMINAL, env={"TERM": "xterm-256color"}, is_terminal=True),
    Surrounding("no terminal in the session", 'setsid -w "$@"'),
    Surrounding("one core", 'exec taskset -c 0 "$@"'),
    Surrounding("low priority beside other work", '(timeout 5 sh -c "while :; do :; done" &) ; exec nice -n 19 "$@"'),
    Surrounding("memory that holds nonsense at first", env={"MALLOC_PERTURB_": "165"}),
    Surrounding("memory laid out otherwise", 'exec setarch -R "$@"', env={"PYTHONMALLOC": "malloc"}),
    Surrounding("memory laid out otherwise again", env={"MALLOC_ARENA_MAX": "1", "MALLOC_TOP_PAD_": "1000003"}),
    Surrounding("an optimizing Python", env={"PYTHONOPTIMIZE": "1"}),
    Surrounding("a Python that looks closely", env={"PYTHONDEVMODE": "1"}),
    Surrounding("another user", 'exec env USER=somebody LOGNAME=somebody HOME=/nowhere HOSTNAME=elsewhere "$@"'),
)


def check_sameness(
    folder: Path, jobs: int, program: Sequence[str] = PROGRAM, places: Sequence[Surrounding] = PLACES
) -> Tally:
    """Train in many places, and cross-validate with many numbers of processes."""
    train = shlex.join([*TRAINING, "--epochs", "3"])
    trainings = [replace(place, commands=(train,)) for place in places]
    tally = check_surroundings(folder, jobs, program, trainings, check="equal bytes anywhere", train=train)
    counts = iter(("1", "2", "3"))
    documents = []

    def cross_validate(where: Path, chance: random.Random) -> int:
        command = "cv -c quick --folds 3 --set training.epochs=2 --json --jobs"
        done = process(*command.split(), next(counts), cwd=where, program=program)
        found = json.loads(done.stdout)
        found.pop("seconds")
        documents.append(found)
        assert found == documents[0], "another number of processes, another result"
        return 1

    processes = repeat(tally.check, cross_validate, 3, 1)
    return Tally(tally.check, tally.tried + processes.tried, tally.failures + processes.failures)
