"""Reads an item's image, DynamoDB's attribute map, strictly: what figures depend on is there."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from consulta.core.time import from_text, local_day

Image = Mapping[str, Mapping[str, Any]]


class Malformed(ValueError):
    """An item without what its figures depend on. The text names the attribute, never its value."""


def number_in(image: Image, name: str) -> int:
    """A whole number. Raises Malformed."""
    try:
        return int(image[name]["N"])
    except (KeyError, TypeError, ValueError):
        raise Malformed(f"attribute {name}") from None


@dataclass(frozen=True, slots=True)
class Reader:
    """An image, read strictly: what is not there or not of its kind is Malformed."""

    image: Image
    practice: str

    def text(self, name: str) -> str:
        value = self.image.get(name, {}).get("S")
        # A separator inside an id would reach another subject's row.
        if not isinstance(value, str) or not value or "#" in value:
            raise Malformed(f"attribute {name}")
        return value

    def number(self, name: str) -> int:
        return number_in(self.image, name)

    def texts(self, name: str) -> list[str]:
        """A list of ids."""
        try:
            found = [str(one["S"]) for one in self.image[name]["L"]]
        except (KeyError, TypeError):
            raise Malformed(f"attribute {name}") from None
        if any(not one or "#" in one for one in found):
            raise Malformed(f"attribute {name}")
        return found

    def flag(self, name: str) -> bool:
        return self.image.get(name, {}).get("BOOL") is True

    def credited(self, accounts: frozenset[str]) -> int:
        """What a posting's entries credit to ``accounts``, less what they debit."""
        try:
            return sum(
                int(entry["M"]["credit"]["N"]) - int(entry["M"]["debit"]["N"])
                for entry in self.image["entries"]["L"]
                if entry["M"]["account"]["S"] in accounts
            )
        except (KeyError, TypeError, ValueError):
            raise Malformed("attribute entries") from None

    def balances(self) -> dict[str, dict[str, int]]:
        """By a posting's books and kinds of account: debits less credits."""
        # A dashboard names figures and never reads a posting: it need not import the ledger.
        from consulta.money.books.ledger import kind_of  # noqa: PLC0415

        found: dict[str, dict[str, int]] = {}
        try:
            for entry in self.image["entries"]["L"]:
                book, account = entry["M"]["book"]["S"], kind_of(entry["M"]["account"]["S"])
                sums = found.setdefault(book, {})
                moved = int(entry["M"]["debit"]["N"]) - int(entry["M"]["credit"]["N"])
                sums[account] = sums.get(account, 0) + moved
        except (KeyError, TypeError, ValueError):
            raise Malformed("attribute entries") from None
        if any("#" in book for book in found):
            raise Malformed("attribute entries")
        return found

    def has(self, name: str) -> bool:
        """Whether it is set: PynamoDB leaves None out, an update writes it as NULL."""
        return name in self.image and "NULL" not in self.image[name]

    def day(self) -> str:
        """The stamped local day, ``yyyy-mm-dd``."""
        text = self.text("local_date")
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            raise Malformed("attribute local_date") from None

    def made_on(self) -> str:
        """The local day on which it was made, in its stamped zone: that of a past instant stays."""
        try:
            made = from_text(self.text("created_at"))
            return local_day(made, self.text("zone")).isoformat()
        except (ValueError, LookupError):
            raise Malformed("attribute created_at") from None
