"""Patients."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import StringConstraints, model_validator

from consulta.core.fields import Name, Text
from consulta.core.http import ApiModel, Id
from consulta.people.contact import Email
from consulta.people.schema.fields import Phone, Version


class PatientIn(ApiModel):
    """A new patient. A phone without ``+`` is read as one of the practice's country."""

    name: Name
    phone: Phone
    email: Email | None = None
    notes: Text | None = None


class PatientPatch(ApiModel):
    """What of a patient changes; ``null`` clears email or notes."""

    name: Name | None = None
    phone: Phone | None = None
    email: Email | None = None
    notes: Text | None = None


class PatientSearchIn(ApiModel):
    """One of: the beginning of a name, a whole phone number, a whole email address."""

    name: Annotated[str | None, StringConstraints(min_length=2, max_length=120)] = None
    phone: Phone | None = None
    email: Email | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.name, self.phone, self.email)) != 1:
            raise ValueError("give one of name, phone and email")
        return self


class PatientOut(ApiModel):
    """A patient. ``notes`` only for who may write patients."""

    id: Id
    name: str
    phone: str | None
    email: str | None
    notes: str | None
    trust: str
    created_at: datetime
    version: Version


class PatientPage(ApiModel):
    """Patients, the newest first."""

    items: list[PatientOut]
    next_cursor: str | None


class PatientMatches(ApiModel):
    """What a search found, at most twenty, by name."""

    items: list[PatientOut]
