"""Triton's interpreter, switched on for a process that has not imported Triton yet."""

import os


def switch_on():
    os.environ["TRITON_INTERPRET"] = "1"
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patch_with_numbers(tensor, scope):
        patch(tensor, scope)
        # Triton before 3.8 writes int(array) where a loop's bound is an array of one element, which numpy 2.4 refuses.
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    interpreter._patch_lang_tensor = patch_with_numbers
