"""Image files: finding them, decoding them, and a torch dataset of them."""
