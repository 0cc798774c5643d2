"""`python -m fakehw_plugin` is `fakehw-plugin`."""

import sys

from fakehw_plugin.cli import main

sys.exit(main())
