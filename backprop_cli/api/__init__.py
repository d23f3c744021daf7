"""What `backprop_cli` offers to programs and to its own faces: one call, one frozen record with `to_dict()`."""
