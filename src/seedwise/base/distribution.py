"""What this package was installed as."""

import contextlib


def distribution() -> tuple[str, str]:
    """Name and version: of seedwise, or of seedwise-stats, which comes without torch."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import

    for name in ("seedwise", "seedwise-stats"):
        with contextlib.suppress(PackageNotFoundError):
            return name, version(name)
    return "seedwise", "not installed"  # on a node of a cluster it may be there without that
