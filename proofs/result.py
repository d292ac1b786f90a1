"""What a checker found, as one line of a table."""

from dataclasses import dataclass

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """One guarantee, as one checker sees it."""

    checker: str  # who checked
    guarantee: str  # what, by the names of the specification, with commas between them
    figure: str  # how much was checked, and the bound if there is one
    ok: bool
    seconds: float

    def __str__(self) -> str:
        verdict = "ok" if self.ok else "FAILED"
        what = f"{self.figure}: {self.guarantee}"
        return f"{self.checker:<14} {verdict:<6} {self.seconds:6.1f} s  {what}"
