"""Run the patched MiniStack in the foreground: ``GATEWAY_PORT=4701 python -m local.aws``."""

import sys
from importlib.metadata import version

from local.aws import MINISTACK_VERSION
from local.aws.patches import apply_all


def main() -> None:
    """Patch MiniStack, then serve until SIGTERM.

    The patches reach into MiniStack's insides, so any other version is refused.
    """
    installed = version("ministack")
    if installed != MINISTACK_VERSION:
        sys.exit(f"local.aws patches MiniStack {MINISTACK_VERSION}, but {installed} is installed.")
    apply_all()
    from ministack.app import main as serve  # noqa: PLC0415 - only after the patches

    serve()


if __name__ == "__main__":
    main()
