"""`python -m local.simulators.mercadopago --port N [--host 127.0.0.1]`"""

from local.simulators.control import serve
from local.simulators.mercadopago.app import create_app

serve("mercadopago", 4712, create_app)
