"""How it is computed, one module or package per kind of device; `base` says what each offers, `select` chooses."""
