"""`python -m blippose`: the same program as `blippose`."""

import sys

from blippose.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
