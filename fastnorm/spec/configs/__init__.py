"""Published configurations of image processors, read: files, dictionaries and the objects made from them.

`constants` reads a normalisation alone. `targets` reads all that a processor does to an image, as the arguments of a
`Target`, from a module for each library. A class or a setting that is not understood is refused, never ignored.
"""
