"""Parts of one practice's work side by side, in threads: they wait for the table, not for us."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event


def each[T](work: Callable[[T], None], parts: Iterable[T], workers: int, stop: Event) -> None:
    """Do ``work`` for every part, at most ``workers`` at once; with one, here and in order.

    The first error sets ``stop``, which long work looks at, and is raised once all have ended;
    parts that had not begun are left out.
    """
    waiting = list(parts)
    if workers < 2 or len(waiting) < 2:
        for part in waiting:
            work(part)
        return
    with ThreadPoolExecutor(min(workers, len(waiting))) as pool:
        futures = [pool.submit(work, part) for part in waiting]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
