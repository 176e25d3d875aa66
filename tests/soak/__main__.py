"""``python -m tests.soak [count] [stack file]``: exit code 1 where anything was found."""

import sys

from tests.soak.run import main

sys.exit(main(*sys.argv[1:]))
