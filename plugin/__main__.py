"""`python -m plugin` is `fakehw-plugin`."""

import sys

from plugin.cli import main

sys.exit(main())
