"""`tarfile` with extraction filters, which Python 3.11 has from 3.11.4 on: Debian 12 comes with 3.11.2."""

import sys

if sys.version_info >= (3, 12):
    import tarfile
else:
    from backports import tarfile  # type: ignore[import-untyped]

__all__ = ["tarfile"]
