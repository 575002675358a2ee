"""Say in words how a command ended: by a signal where one was seen, else by its exit code and what that means."""

_NAMES = (
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
)  # fmt: skip
_REAL_TIME = range(34, 65)  # Linux keeps 32 and 33 to itself
_SHELLS = 128  # plus the signal's number: how shells exit where a signal ended their last program
_SHELL_CODES = {
    126: "by which shells say that a program could not be executed",
    127: "by which shells say that a program was not found",
}


def signal_text(number: int) -> str:
    """Return a signal with its name, if it has one: `signal 9 (KILL)`."""
    return f"signal {number} ({_NAMES[number - 1]})" if 1 <= number <= len(_NAMES) else f"signal {number}"


def exit_code_text(code: int | None) -> str:
    """Return an exit code of a command that ended by itself, with what it usually means."""
    if code is None:
        return "an unknown exit code"
    if code in _SHELL_CODES:
        return f"exit code {code}, {_SHELL_CODES[code]}"
    number = code - _SHELLS
    if 1 <= number <= len(_NAMES) or number in _REAL_TIME:
        return f"exit code {code}, which probably means that a program in it was ended by {signal_text(number)}"
    return f"exit code {code}"


def left_text(count: int) -> str:
    """Return what a command left behind that was ended."""
    return f"left {count} process{'' if count == 1 else 'es'}, ended"


def oom_text(count: int) -> str:
    """Return how many processes of a command the kernel has ended for want of memory."""
    return f"the kernel ended {count} of its processes for want of memory"
