"""The pages: the report, and the board to draw on; what `api/` tells, drawn in a browser."""
