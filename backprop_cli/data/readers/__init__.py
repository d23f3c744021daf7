"""One file a form that labelled pictures come in, each with `matches(source)` and `load(source, wanted)`."""
