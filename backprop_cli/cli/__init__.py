"""The command line: parse, call, render. Typer and Rich live here and nowhere else."""
