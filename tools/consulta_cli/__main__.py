"""``python -m consulta_cli``."""

from consulta_cli import app

app(prog_name="consulta")
