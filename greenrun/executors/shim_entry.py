"""The script that is spawned for each run: it lets a bare interpreter (-I -S) import the shim's few light modules."""

import sys

if __name__ == "__main__":
    sys.path.append(__file__.rpartition("/greenrun/executors/")[0])
    from greenrun.executors.shim import main

    sys.exit(main())
