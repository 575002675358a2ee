"""`python -m greenrun.cli` is `greenrun`, also where the script is not on the PATH."""

import sys

from greenrun.cli.app import main

sys.exit(main())
