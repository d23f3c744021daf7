"""The whole classifier in another format: bytes out, and what is left out said in them."""
