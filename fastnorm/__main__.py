"""`python -m fastnorm` is the command `fastnorm`."""

import sys

from fastnorm.cli import main

if __name__ == "__main__":  # DataLoader workers import this module again where they are spawned
    sys.exit(main())
