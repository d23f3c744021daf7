"""What `make bench` and its kin measure."""
