"""``consulta``: the operators' command, against the local AWS or a real stack.

python -m consulta_cli verify              prove every practice's figures
python -m consulta_cli rebuild             walk every practice's items through the figures
python -m consulta_cli audit verify        prove every row, history and seal of the audit
"""

import typer

from consulta_cli import audit, figures

app = typer.Typer(
    help="The operators' command of Consulta.", no_args_is_help=True, add_completion=False
)
figures.register(app)
audit.register(app)

__all__ = ["app"]
