"""An expert's set-up, as it is shown."""

from typing import Literal

from consulta.core.http import ApiModel


class SetupStepOut(ApiModel):
    """One step of an expert's set-up, and where it is done."""

    name: Literal["profile", "availability", "services", "identity", "payments", "calendar"]
    done: bool
    required: bool
    href: str


class SetupOut(ApiModel):
    """How far an expert's set-up is."""

    done: int
    total: int
    steps: list[SetupStepOut]
    can_publish: bool
