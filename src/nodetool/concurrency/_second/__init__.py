"""The machine of the second semantics. The pool does not use it yet."""
