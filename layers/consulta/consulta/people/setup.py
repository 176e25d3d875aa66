"""How far an expert's set-up is: pure, from the expert's item alone (PRODUCT.md D3)."""

from typing import NamedTuple

from consulta.people.records import ExpertItem


class Step(NamedTuple):
    """One step. ``href`` is where it is done; what is ``required`` stands before publishing."""

    name: str
    done: bool
    required: bool
    href: str


class Setup(NamedTuple):
    """All steps, in the order in which they are best done."""

    steps: tuple[Step, ...]

    @property
    def done(self) -> int:
        """How many are done."""
        return sum(step.done for step in self.steps)

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.steps)

    @property
    def open_steps(self) -> list[str]:
        """The required ones that are not done."""
        return [step.name for step in self.steps if step.required and not step.done]

    @property
    def can_publish(self) -> bool:
        """Whether every required step is done."""
        return not self.open_steps


def setup_of(expert: ExpertItem) -> Setup:
    """The set-up of an expert as stored. Identity and calendar do not hold up publishing yet."""
    profile = bool(expert.name and expert.title and expert.bio and expert.languages)
    return Setup(
        (
            Step("profile", profile, True, f"/v1/experts/{expert.item_id}"),
            Step(
                "availability",
                bool(expert.has_hours),
                True,
                f"/v1/availability?expert_id={expert.item_id}",
            ),
            Step("services", bool(expert.has_service), True, "/v1/services"),
            Step("identity", bool(expert.identity_verified), False, "/v1/account-sessions"),
            Step("payments", bool(expert.payments_ready), True, "/v1/connect/accounts"),
            Step("calendar", bool(expert.calendar_connected), False, "/v1/calendars/google"),
        )
    )
