"""One measured figure with its bar."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """``value`` in ``unit``; ``bar`` is the highest or the lowest that is ok.

    Without a bar it is a figure to look at.
    """

    name: str
    value: float
    unit: str
    bar: float | None
    ok: bool

    @classmethod
    def at_most(cls, name: str, value: float, unit: str, bar: float | None = None) -> "Entry":
        """An entry that is ok up to its bar."""
        return cls(name, round(value, 4), unit, bar, bar is None or value <= bar)

    @classmethod
    def at_least(cls, name: str, value: float, unit: str, bar: float | None = None) -> "Entry":
        """An entry that is ok from its bar on."""
        return cls(name, round(value, 4), unit, bar, bar is None or value >= bar)
