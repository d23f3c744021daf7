"""The files: how they are written so that nothing is lost, and read so that nothing gets in."""
