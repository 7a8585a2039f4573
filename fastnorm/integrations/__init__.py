"""Adapters for other packages' loops and loaders, such as a Lightning callback. None yet."""
