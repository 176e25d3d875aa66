"""`python -m local.simulators.google --port N [--host 127.0.0.1]`"""

from local.simulators.control import serve
from local.simulators.google.app import create_app

serve("google", 4714, create_app)
