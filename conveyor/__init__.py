"""conveyor: container images out of git commits, a stage at a time."""

__version__ = "0.1.0"
