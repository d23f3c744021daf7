"""The pages: what `api` returns, drawn for a browser."""
