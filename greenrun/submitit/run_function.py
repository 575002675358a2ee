"""What a submitted function's job runs: `python -m greenrun.submitit.run_function FOLDER`."""

import os
import pickle
import sys
import traceback
from pathlib import Path
from typing import Any

from greenrun.submitit.own_pickles import CALL, ONLY, RESULT, dumps, read_pickle, write_pickle


def main(folder: Path) -> int:
    """Call the function of this job and keep its result, or the traceback of what it raised; return the exit code.

    SystemExit passes, so a function may end its run with the exit code of a checkpoint, and is then called again.
    """
    index = os.environ.get("GREENRUN_ARRAY_INDEX", ONLY)
    (folder / RESULT.format(index)).unlink(missing_ok=True)  # of an earlier run that failed
    submitted = read_pickle(folder, CALL.format(index))
    sys.path[:] = submitted["path"]
    try:
        result = dumps({"result": _call(submitted["call"])})
        code = 0
    except Exception:  # noqa: BLE001  # the top of a program: whatever it was, who submitted it is told
        told = traceback.format_exc()
        print(told, file=sys.stderr, flush=True)
        result, code = dumps({"traceback": told}), 1
    write_pickle(folder, RESULT.format(index), result)
    return code


def _call(pickled: bytes) -> Any:
    function, args, kwargs = pickle.loads(pickled)
    return function(*args, **kwargs)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
