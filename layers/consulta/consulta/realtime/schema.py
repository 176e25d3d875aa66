"""What the realtime resource answers."""

from datetime import datetime

from pydantic import Field

from consulta.core.http import ApiModel


class RealtimeTicket(ApiModel):
    """Lets whoever has it open one WebSocket connection: ``<url>?ticket=<ticket>``."""

    ticket: str = Field(description="Good once, until expires_at; never log it")
    url: str = Field(examples=["wss://abc123.execute-api.eu-west-1.amazonaws.com/live"])
    expires_at: datetime
