"""`make fuzz`: thousands of damaged and hostile files of each kind; exit code 1 where one of them finds a fault.

Each must be refused in short, clear lines that name it, or accepted and keep every rule; without a traceback, a warning
or a word from a decoder, and within its time and memory.
"""

from __future__ import annotations

import argparse
import sys
from itertools import chain
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from bombs import bombs  # noqa: E402  (the line above makes it and tests/ findable)
from campaign import Tally, corpus, first, run  # noqa: E402
from commands import run_commands  # noqa: E402

DEFAULTS = {"models": 10_000, "checkpoints": 4_000, "configs": 10_000, "pictures": 10_000, "data": 2_000}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    for name, count in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=count, help=f"how many (default {count:,})")
    parser.add_argument("--commands", type=int, default=100, help="of each kind, by a process each (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="other files with every other number")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="where failing files are left")
    options = vars(parser.parse_args())
    seed, keep, n_failed = options["seed"], options["keep"], 0
    print(f"{'kind':<22}{'tried':>8}{'accepted':>10}{'failed':>8}{'longest':>10}{'most memory':>13}{'time':>9}")
    for name in DEFAULTS:
        kind, n = name.removesuffix("s"), options[name]
        if n:
            known = [*corpus(kind), *bombs(kind)]
            n_failed += told(name, run(kind, chain(known, first(kind, n, seed)), keep=keep))
        if n and options["commands"]:
            nasty = chain(known, first(kind, options["commands"], seed + 1))
            n_failed += told(f"{name}, commands", run_commands(kind, nasty, keep=keep))
    if n_failed:
        print(f"{n_failed:,} failed; they are in {keep}")
    return int(n_failed > 0)


def told(name: str, tally: Tally) -> int:
    """Print a row, and what failed; return how many did."""
    memory = f"{tally.largest:,} MB" if tally.largest else ""
    print(
        f"{name:<22}{tally.tried:>8,}{tally.accepted:>10,}{tally.failed:>8,}{tally.longest:>8.2f} s"
        f"{memory:>13}{tally.seconds:>7.0f} s",
        flush=True,
    )
    for reason, n in tally.reasons.most_common(20):
        print(f"  {n:,} x {reason!a}", flush=True)
    return tally.failed


if __name__ == "__main__":
    sys.exit(main())
