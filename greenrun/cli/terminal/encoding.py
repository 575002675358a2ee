"""Output that any terminal, pipe or file can take: what its encoding lacks is drawn with what it has, or escaped."""

import codecs
import io
import json
import sys

_HANDLER = "greenrun"
# Each takes one column, as what it stands for does.
_LOOKALIKES = dict.fromkeys("▏▎▍▌▋▊▉█▇▆▅▄▃▂▓▒", "#") | dict(zip("▁░…·│┤└─▲◀±", "_:~.|++-^<~", strict=True))


def tolerate_any_encoding() -> None:
    """Let stdout and stderr take any text: what they cannot encode never ends a command."""
    codecs.register_error(_HANDLER, _replacement)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def is_unicode() -> bool:
    """Whether stdout can take any character."""
    return _encoding().lower().replace("-", "").startswith(("utf8", "utf16", "utf32"))


def encodable(text: str) -> str:
    """Return a text as stdout will show it, to know how wide that is."""
    if text.isascii() or is_unicode():
        return text
    return text.encode(_encoding(), _HANDLER).decode(_encoding(), "replace")


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "ascii"


def _replacement(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace what cannot be encoded: a sign of a drawing by one that looks like it, others by JSON's escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_LOOKALIKES.get(sign) or json.dumps(sign)[1:-1] for sign in signs), error.end
