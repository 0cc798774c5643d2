"""python -m kubectl_fakehw."""

import sys

from kubectl_fakehw.cli import main

sys.exit(main())
