"""`python -m fakehw_fleet`."""

import sys

from fakehw_fleet.cli import main

sys.exit(main())
