"""The process of the command line: `greenrun`, and `python -m greenrun.cli` where the script is not on the PATH."""

import gc
import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn

_ALLOCATIONS = 50_000  # between two collections: modules being imported are no garbage


def run() -> NoReturn:
    """Run the command line and leave with its exit code.

    Python would then take its modules apart one by one, a tenth of what `submit` costs. Nothing needs that where no
    thread is left and nothing has loaded atexit, as logging, temporary folders and multiprocessing do.
    """
    gc.set_threshold(_ALLOCATIONS)
    from greenrun.cli.app import main

    code = main()
    if "atexit" not in sys.modules and threading.active_count() == 1:
        with suppress(OSError):
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    run()
