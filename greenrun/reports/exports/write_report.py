"""Write a report, read as JSON from the standard input, in the format named: in a process of its own.

What a page of charts takes to draw is then loaded by that process alone, and not by the daemon for good.
"""

import sys

from greenrun.reports.formats import WRITERS
from greenrun.reports.model import Report


def main() -> None:
    """Read, write, and end."""
    report = Report.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.buffer.write(WRITERS[sys.argv[1]](report).encode())


if __name__ == "__main__":
    main()
