"""`python -m fakekubelet.conformance` is `fakehw-conformance`."""

from __future__ import annotations

import sys

from fakekubelet.conformance import cli

if __name__ == "__main__":
    sys.exit(cli.main())
