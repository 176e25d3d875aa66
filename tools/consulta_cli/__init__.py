"""``consulta``: the operators' command, against the local AWS or a real stack.

python -m consulta_cli verify              prove every practice's figures
python -m consulta_cli rebuild             walk every practice's items through the figures
python -m consulta_cli backfill            the same, for figures that a deployment has brought
python -m consulta_cli repair-figures      set damaged rows of figures to their sums
python -m consulta_cli audit verify        prove every row, history and seal of the audit
python -m consulta_cli ledger verify       prove every posting, sum and payment of the ledger
python -m consulta_cli reconcile           compare the providers with the ledger, list what differs
python -m consulta_cli webhooks check      compare Stripe's webhook endpoints with what we handle
python -m consulta_cli webhooks replay     put the providers' events of a time into the queue again
python -m consulta_cli webhooks list-accounts   accounts from before there was a list of them
python -m consulta_cli dead-letters redrive   list what no worker could do, and send it back
"""

import typer

from consulta_cli import audit, figures, ledger, reconcile, webhooks

app = typer.Typer(
    help="The operators' command of Consulta.", no_args_is_help=True, add_completion=False
)
figures.register(app)
audit.register(app)
ledger.register(app)
reconcile.register(app)
webhooks.register(app)

__all__ = ["app"]
