"""What the person who waits is shown."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status

console = Console(highlight=False)


class Progress:
    """What the step under way has to say; the last word stands beside its time."""

    def __init__(self, title: str, status: Status) -> None:
        self._title = title
        self._status = status
        self.last = ""

    def show(self, text: str) -> None:
        self.last = text
        self._status.update(f"{self._title}: {text}")


@contextmanager
def step(title: str) -> Iterator[Progress]:
    """Show a step while it runs, and then how long it took."""
    began = time.monotonic()
    with console.status(title) as status:
        progress = Progress(title, status)
        try:
            yield progress
        except BaseException:
            console.print(f"[red]✗[/red] {title}")
            raise
    took = f"{time.monotonic() - began:.1f} s"
    note = f"{took}, {progress.last}" if progress.last else took
    console.print(f"[green]✓[/green] {title} [dim]({note})[/dim]")
