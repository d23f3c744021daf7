"""One file a form that labeled pictures come in, each with `matches(source)` and `load(source, wanted)`."""
