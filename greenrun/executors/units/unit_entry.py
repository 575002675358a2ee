"""The script that a run's unit executes: it lets a bare interpreter (-I -S) import the shim's few light modules."""

import sys

if __name__ == "__main__":
    sys.path.append(__file__.rpartition("/greenrun/executors/")[0])
    from greenrun.executors.units.handover import receive

    receive()
    from greenrun.executors.shim import main

    sys.exit(main())
