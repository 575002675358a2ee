"""Read the YAML of job files by PyYAML, with each value as the text that it is.

A job's values are parsed by greenrun's own rules, and YAML 1.1 would make 1080 of 18:00, true of `on`, and 8 of 010:
only `true`, `false` and `null` are told from text. What a list of jobs has no use for is refused with its line:
aliases, which make a large file of a small one, merge keys, tags, and several documents.
"""

import re
from typing import ClassVar, NoReturn

import yaml

Node = str | bool | None | list["Node"] | dict[str, "Node"]

_MOST_DEPTH = 32
_TAGGED = "has a tag, which a job's value never needs; leave it out"
_BOOL, _NULL, _TEXT, _LIST, _TABLE = (f"tag:yaml.org,2002:{name}" for name in ("bool", "null", "str", "seq", "map"))


class YamlError(ValueError):
    """The text is not YAML, or uses more of it than is read here; says in which line."""


_Base: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where it was built with it


class _Loader(_Base):  # type: ignore[misc, valid-type]
    """Resolves plain scalars to text, but for truth values and nulls as JSON writes them."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


_Loader.add_implicit_resolver(_BOOL, re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(_NULL, re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""])


def parse_yaml(text: str) -> Node:
    """Return what a document says; raise YamlError with the line and what is wrong there."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = text.count("\n") + 1 if mark is None else mark.line + 1
        raise YamlError(f"line {line} cannot be read: {exc.problem or exc.context}") from exc
    except yaml.YAMLError as exc:  # a character that YAML does not allow
        line = text.count("\n", 0, getattr(exc, "position", 0)) + 1
        raise YamlError(f"line {line} has a character that YAML does not allow") from exc
    except RecursionError:
        raise YamlError("line 1 opens what is nested too deeply") from None
    return None if node is None else _value(node, set(), 0)


def _value(node: yaml.Node, seen: set[int], depth: int) -> Node:
    if depth > _MOST_DEPTH:
        _fail(node, "is nested too deeply")
    if id(node) in seen:
        _fail(node, "is meant by an alias again; write out what is to be repeated")
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if node.tag not in (_LIST, _TABLE):
        _fail(node, _TAGGED)
    if isinstance(node, yaml.SequenceNode):
        return [_value(each, seen, depth + 1) for each in node.value]
    found: dict[str, Node] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            _fail(key, "has a key that is no text")
        if key.value == "<<":
            _fail(key, "merges another mapping; write out what is to be repeated")
        if key.value in found:
            _fail(key, f"names {key.value} a second time")
        found[key.value] = _value(value, seen, depth + 1)
    return found


def _scalar(node: yaml.ScalarNode) -> str | bool | None:
    if node.tag == _BOOL:
        return str(node.value).lower() == "true"
    if node.tag == _NULL:
        return None
    if node.tag != _TEXT:
        _fail(node, _TAGGED)
    return str(node.value)


def _fail(node: yaml.Node, what: str) -> NoReturn:
    raise YamlError(f"line {node.start_mark.line + 1} {what}")
