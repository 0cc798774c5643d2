"""`make demo`: the story of the tutorial from a checkout; `fakehw demo` tells it wherever fakehw is installed."""

import sys

from fakehw_fleet.cli import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
