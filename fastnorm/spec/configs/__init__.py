"""Whole configurations of published image processors, read: files, dictionaries and the objects made from them.

`targets` finds the library that one comes from; a module for each library reads all that its processors do to an image,
as the arguments of a `Target`. A class or a setting that is not understood is refused, never ignored.
"""
