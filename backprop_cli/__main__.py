"""`backprop`, and `python -m backprop_cli`."""

import gc
import signal


def main() -> None:
    """Run the command line. A Ctrl-C during its imports ends it there and then: nothing has begun."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Nearly all of what imports make stays, and to look through it again and again takes 5 % of a short run.
    gc.set_threshold(200_000)
    from backprop_cli.cli.app import main as run
    from backprop_cli.cli.console import error

    try:
        signal.signal(signal.SIGINT, before)
        run()
    except KeyboardInterrupt:  # while the commands are put together: in one of them it has been minded
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        error("interrupted")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
