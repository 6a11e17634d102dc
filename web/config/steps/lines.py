"""Line numbers of the keys and values of a valohai.yaml, for messages."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from web.config.steps.load import LOADER


class LineNumbers:
    """Line numbers, from 1 on, of the values of a file that `web.config.steps.load.load` has accepted."""

    def __init__(self, text: str) -> None:
        self._root = yaml.compose(text, Loader=LOADER)

    def of(self, path: Sequence[str | int], key: str = "") -> int | None:
        """Return the line of the value at `path`, or of its `key`; of what surrounds it where a merge hides it."""
        node, line = self._root, None
        for part in (*path, key) if key else path:
            if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
            elif isinstance(node, yaml.MappingNode) and (found := _pair(node, str(part))) is not None:
                line = found[0].start_mark.line + 1
                node = found[1]
            else:
                break
        return line


def _pair(mapping: yaml.MappingNode, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    """Return the last pair with this key, which is the one that counts."""
    return next((pair for pair in reversed(mapping.value) if pair[0].value == key), None)


def describe_syntax_error(error: yaml.MarkedYAMLError) -> str:
    """Say in which line a text is not valid YAML, and why."""
    mark = error.problem_mark or error.context_mark
    said = " ".join(filter(None, (error.problem, error.context)))
    if error.context and error.context_mark and mark and error.context_mark.line != mark.line:
        said += f" that begins in line {error.context_mark.line + 1}"
    return f"line {mark.line + 1}: {said}" if mark else said
