"""`python -m local.simulators.stripe --port N [--host 127.0.0.1]`"""

from local.simulators.control import serve
from local.simulators.stripe.app import create_app

serve("stripe", 4711, create_app)
