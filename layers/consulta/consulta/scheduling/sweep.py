"""The sweep: every minute, what is due is done, from where the last one stopped.

A watermark says up to which minute all is done. A minute is looked at once it is over, in all its
shards; each row's work is conditional on the state of its item, and the row goes when it is done.
So a sweep that dies anywhere is repeated without harm, and one that was away catches up.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from consulta.core import keys, table
from consulta.core.keys import Key
from consulta.core.observe import count, failure
from consulta.core.time import from_text, now, to_text
from consulta.scheduling import due

NAME = "due"
MINUTE = timedelta(minutes=1)
# Where the very first sweep begins.
LOOK_BACK = timedelta(hours=1)
# One invocation goes at most this far, and saves its place after each step.
MAX_MINUTES, STEP = 240, 10
# Failed work waits for its next try twice as long each time, at most 64 minutes.
MAX_DOUBLINGS = 6

# Does one row's work on the item under the key; False to be asked again a little later.
Worker = Callable[[Key], bool]


@dataclass(slots=True)
class Swept:
    """What one sweep came to."""

    minutes: int = 0
    done: int = 0
    postponed: int = 0


def run(workers: Mapping[str, Worker], *, time_left: Callable[[], bool] = lambda: True) -> Swept:
    """Do what has become due; ``time_left`` is asked before each minute."""
    swept = Swept()
    position = _watermark()
    end = _minute(now())
    stop = min(end, position + MAX_MINUTES * MINUTE)
    saved = position
    while position < stop and time_left():
        for shard in range(keys.DUE_SHARDS):
            for row in _rows(position, shard):
                _work(row, workers, swept)
        position += MINUTE
        swept.minutes += 1
        if (position - saved) >= STEP * MINUTE or position == stop:
            saved = _advance(saved, position)
    if position > saved:
        _advance(saved, position)
    count("DueDone", swept.done)
    count("SweepLagMinutes", (end - position) // MINUTE)
    return swept


@dataclass(frozen=True, slots=True)
class Row:
    """One due row."""

    key: Key
    item_pk: str
    what: str
    tries: int


def _rows(minute: datetime, shard: int) -> Iterator[Row]:
    query = table.Query(keys.due_partition(minute, shard), consistent=True)
    for raw in query.all():
        values = table.from_raw(raw)
        key = Key(values["pk"], values["sk"])
        yield Row(key, values["item"], values["what"], int(values["tries"]))


def _work(row: Row, workers: Mapping[str, Worker], swept: Swept) -> None:
    try:
        done = workers[row.what](Key(row.item_pk))
    except Exception as error:  # noqa: BLE001  # one item's failure must not hold up all others
        failure("due work failed", error, item=row.item_pk, what=row.what)
        done = False
    if done:
        table.transact([table.delete(row.key)])
        swept.done += 1
        return
    # In one transaction: the work is neither lost nor doubled if the sweep dies here.
    pause = 2 ** min(row.tries, MAX_DOUBLINGS) * MINUTE
    again = due.at(now() + pause, row.item_pk, row.what, tries=row.tries + 1)
    table.transact([table.delete(row.key), again])
    swept.postponed += 1


def _minute(instant: datetime) -> datetime:
    return instant.replace(second=0, microsecond=0)


def _watermark() -> datetime:
    """The first minute that is not known to be done."""
    raw = table.get_raw(keys.watermark(NAME))
    return from_text(table.from_raw(raw)["minute"]) if raw else _minute(now()) - LOOK_BACK


def _advance(saved: datetime, position: datetime) -> datetime:
    """Save the place. The mark only rises: a slow sweep must not take a faster one back."""
    try:
        table.transact(
            [
                table.update(
                    keys.watermark(NAME),
                    set_={"minute": to_text(position)},
                    condition="attribute_not_exists(pk) OR #minute <= :saved",
                    names={"#minute": "minute"},
                    values={":saved": to_text(saved)},
                )
            ]
        )
    except table.ConditionFailed:
        # Another sweep is ahead of this one; what this one does from here on is done twice at most.
        return position
    return position
