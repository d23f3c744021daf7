"""`backprop`, and `python -m backprop_cli`."""

import gc
import signal


def main() -> None:
    """Run the command line. A Ctrl-C during its imports ends it there and then: nothing has begun."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Nearly all of what imports make stays, and to look through it again and again takes 5 % of a short run.
    gc.set_threshold(200_000)
    from backprop_cli.cli.app import main as run

    signal.signal(signal.SIGINT, before)
    run()


if __name__ == "__main__":
    main()
