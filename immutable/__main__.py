"""``python -m immutable``: the command line."""

import sys

from immutable import cli

if __name__ == "__main__":
    sys.exit(cli.main())
