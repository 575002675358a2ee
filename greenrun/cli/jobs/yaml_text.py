"""Read the YAML that job files are written in: mappings, lists and scalars, in block and flow style, as text.

A job's values are parsed by greenrun's own rules, so what stands in the file must come through as it is written. YAML
1.1, which the usual library reads, would make 1080 of 18:00, true of `on`, and 8 of 010. Anchors, aliases, tags, merge
keys, several documents and complex keys are refused with their line; ADR 16 says why this is ours.
"""

import json
import re
from typing import NamedTuple, NoReturn

Node = str | bool | None | list["Node"] | dict[str, "Node"]

_MOST_DEPTH = 32
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS = ("", "~", "null", "Null", "NULL")
_KEY = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s\[\]{},#&*!|>'"%@`-][^#]*?|-[^\s#][^#]*?)\s*:(?=\s|$)""")
_BLOCK = re.compile(r"([|>])([+-]?)(\d?)([+-]?)\s*(?:#.*)?$")
_UNSUPPORTED = {
    "&": "an anchor", "*": "an alias", "!": "a tag", "?": "a complex key", "%": "a directive", "@": "a reserved sign",
    "`": "a reserved sign",
}  # fmt: skip


class YamlError(ValueError):
    """The text is not YAML, or uses more of it than is read here; says in which line."""


class _Line(NamedTuple):
    number: int
    indent: int
    text: str  # without indentation, comment and space at its end


def parse_yaml(text: str) -> Node:
    """Return what a document says; raise YamlError with the line and what is wrong there."""
    reader = _Reader(text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}"))
    found = reader.block(0, 0)
    if (line := reader.peek()) is not None:
        reader.fail(line.number, "is indented differently from the lines that it follows")
    return found


class _Reader:
    """Reads blocks line by line; `_at` is the next line to look at."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._at = 0
        first = self.peek()
        if first is not None and first.text == "---":
            self._at += 1
        again = next((n for n, line in enumerate(self._lines) if n >= self._at and line.rstrip() == "---"), None)
        if again is not None:
            self.fail(again + 1, "begins another document; put all jobs into one list")

    def fail(self, number: int, what: str) -> NoReturn:
        """Raise YamlError about a line."""
        raise YamlError(f"line {number} {what}")

    def peek(self) -> _Line | None:
        """Return the next line that is not blank or a comment alone."""
        while self._at < len(self._lines):
            raw = self._lines[self._at]
            stripped = raw.lstrip(" ")
            if stripped.startswith("\t") and stripped.strip() and not stripped.strip().startswith("#"):
                self.fail(self._at + 1, "is indented by a tab; indent by spaces")
            text = _without_comment(stripped).rstrip()
            if text and text != "...":
                return _Line(self._at + 1, len(raw) - len(stripped), text)
            self._at += 1
        return None

    def block(self, least: int, depth: int) -> Node:
        """Read what begins at the next line, if that is indented by `least` at least; None otherwise."""
        line = self.peek()
        if line is None or line.indent < least:
            return None
        if depth > _MOST_DEPTH:
            self.fail(line.number, "is nested too deeply")
        if line.text == "-" or line.text.startswith("- "):
            return self._list(line.indent, depth)
        if _KEY.match(line.text):
            return self._mapping(line.indent, depth)
        self._at += 1
        return self._scalar(line.text, line, least, depth)

    def _list(self, indent: int, depth: int) -> list[Node]:
        items: list[Node] = []
        while (line := self.peek()) is not None and line.indent == indent and (line.text + " ").startswith("- "):
            rest = line.text[1:].lstrip(" ")
            if not rest:
                self._at += 1
                items.append(self.block(indent + 1, depth + 1))
                continue
            inner = indent + len(line.text) - len(rest)
            self._lines[self._at] = " " * inner + self._lines[self._at][inner:]  # as if the item began here
            items.append(self.block(indent + 1, depth + 1))
        return items

    def _mapping(self, indent: int, depth: int) -> dict[str, Node]:
        found: dict[str, Node] = {}
        while (line := self.peek()) is not None and line.indent == indent:
            read = _KEY.match(line.text)
            if read is None:
                self.fail(line.number, "has no ': ' after a key")
            key = str(self._inline(read[1], line.number))
            if key in found:
                self.fail(line.number, f"names {key} a second time")
            if key == "<<":
                self.fail(line.number, "merges another mapping, which is not read here; write the keys out")
            self._at += 1
            found[key] = self._value(line.text[read.end() :].strip(), line, indent, depth)
        return found

    def _value(self, text: str, line: _Line, indent: int, depth: int) -> Node:
        if text:
            return self._scalar(text, line, indent + 1, depth)
        following = self.peek()
        if following is not None and following.indent == indent and (following.text + " ").startswith("- "):
            return self._list(indent, depth + 1)  # a list may stand as far left as its key
        return self.block(indent + 1, depth + 1)

    def _scalar(self, text: str, line: _Line, least: int, depth: int) -> Node:
        """Read a value that begins in `line`, which may go on in the lines after it."""
        if header := _BLOCK.match(text):
            return self._literal(header, least)
        if text[0] in "[{\"'":
            while not _is_closed(text):
                following = self.peek()
                if following is None:
                    self.fail(line.number, f"opens {text[0]} and nothing closes it")
                self._at += 1
                text = f"{text} {following.text}"
            return self._inline(text, line.number, depth)
        while (following := self.peek()) is not None and following.indent >= max(least, 1):
            if _KEY.match(following.text):
                self.fail(following.number, "is indented further than the line before it allows")
            self._at += 1
            text = f"{text} {following.text}"
        return self._inline(text, line.number, depth)

    def _literal(self, header: re.Match[str], least: int) -> str:
        """Read a block scalar: | keeps its line ends, > makes spaces of them."""
        lines: list[str] = []
        indent = int(header[3]) + least - 1 if header[3] else None
        while self._at < len(self._lines):
            raw = self._lines[self._at]
            own = len(raw) - len(raw.lstrip(" "))
            if raw.strip():
                indent = max(own, least) if indent is None else indent
                if own < indent:
                    break
            lines.append(raw[indent or 0 :] if raw.strip() else "")
            self._at += 1
        text = "\n".join(lines) if header[1] == "|" else _folded(lines)
        chomp = header[2] or header[4]
        return f"{text}\n" if chomp == "+" else text.rstrip("\n") + ("" if chomp == "-" or not text.strip() else "\n")

    def _inline(self, text: str, number: int, depth: int = 0) -> Node:
        """Read a value that stands on one line."""
        found, rest = self._flow(text.strip(), number, depth, within="")
        if rest.strip():
            self.fail(number, f"has {rest.strip()!r} after the end of a value")
        return found

    def _flow(self, text: str, number: int, depth: int, within: str) -> tuple[Node, str]:
        """Read the value at the start of a text; return it and the rest. The signs `within` end a plain one."""
        if depth > _MOST_DEPTH:
            self.fail(number, "is nested too deeply")
        first = text[:1]
        if first == "[":
            return self._flow_list(text[1:].lstrip(), number, depth)
        if first == "{":
            return self._flow_mapping(text[1:].lstrip(), number, depth)
        if first in ("'", '"') and first:
            return self._quoted(text, number)
        if first in _UNSUPPORTED and first:
            self.fail(
                number, f"has {_UNSUPPORTED[first]} ('{first}'), which is not read here; quote it if it is a text"
            )
        end = len(text)
        if within:
            stops = [place for place, sign in enumerate(text) if sign in within]
            end = min(stops, default=end)
        plain = text[:end].strip()
        if not within and re.search(r":(\s|$)", plain):
            self.fail(number, "has ': ' within a value; quote the value")
        return _plain(plain), text[end:]

    def _flow_list(self, text: str, number: int, depth: int) -> tuple[list[Node], str]:
        items: list[Node] = []
        while not text.startswith("]"):
            item, text = self._flow(text, number, depth + 1, within=",]")
            items.append(item)
            text = self._after_item(text.lstrip(), number, "]")
        return items, text[1:].lstrip()

    def _flow_mapping(self, text: str, number: int, depth: int) -> tuple[dict[str, Node], str]:
        found: dict[str, Node] = {}
        while not text.startswith("}"):
            key, text = self._flow(text, number, depth + 1, within=":,}")
            text = text.lstrip()
            if not text.startswith(":") or isinstance(key, list | dict):
                self.fail(number, "has an entry without ': ' between { and }")
            value, text = self._flow(text[1:].lstrip(), number, depth + 1, within=",}")
            if str(key) in found:
                self.fail(number, f"names {key} a second time")
            found[str(key)] = value
            text = self._after_item(text.lstrip(), number, "}")
        return found, text[1:].lstrip()

    def _after_item(self, text: str, number: int, end: str) -> str:
        if text.startswith(","):
            return text[1:].lstrip()
        if not text.startswith(end):
            self.fail(number, f"lacks a ',' or '{end}'")
        return text

    def _quoted(self, text: str, number: int) -> tuple[str, str]:
        pattern = r"'((?:[^']|'')*)'" if text[0] == "'" else r'"((?:[^"\\]|\\.)*)"'
        found = re.match(pattern, text)
        if found is None:
            self.fail(number, f"opens {text[0]} and nothing closes it")
        if text[0] == "'":
            return found[1].replace("''", "'"), text[found.end() :].lstrip()
        try:
            return json.loads(found[0].replace("\\'", "'"), strict=False), text[found.end() :].lstrip()
        except ValueError:
            self.fail(
                number, f"has an escape in {found[0]} that is not read here; use '...', in which \\ is a plain sign"
            )


def _plain(text: str) -> Node:
    return None if text in _NULLS else _BOOLS.get(text, text)


def _folded(lines: list[str]) -> str:
    """Join lines by spaces; blank ones are line ends."""
    return re.sub(r"(?<!\n)\n(?!\n|$)", " ", "\n".join(lines)).replace("\n\n", "\n")


def _without_comment(text: str) -> str:
    """Cut a comment off: # at the start or after a space, outside quotes."""
    quote = ""
    for place, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote and not (quote == '"' and _is_escaped(text, place)) else quote
        elif sign in "'\"" and _begins(text, place):
            quote = sign
        elif sign == "#" and (place == 0 or text[place - 1] in " \t"):
            return text[:place]
    return text


def _begins(text: str, place: int) -> bool:
    """Whether a value may begin here: a quote within one is a sign like any other."""
    before = text[:place].rstrip()
    return not before or before[-1] in "[{,:-"


def _is_escaped(text: str, place: int) -> bool:
    before = text[:place]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _is_closed(text: str) -> bool:
    """Whether all brackets and quotes that a value opens are closed."""
    quote, depth = "", 0
    for place, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote and not (quote == '"' and _is_escaped(text, place)) else quote
        elif sign in "'\"" and _begins(text, place):
            quote = sign
        else:
            depth += (sign in "[{") - (sign in "]}")
    return not quote and depth <= 0
