"""`python -m backprop_cli` is `backprop`."""

from backprop_cli.cli.app import main

if __name__ == "__main__":
    main()
