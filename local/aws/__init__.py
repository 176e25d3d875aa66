"""A local AWS: MiniStack with the few patches that this project needs (docs/decisions/0002)."""

MINISTACK_VERSION = "1.5.33"
