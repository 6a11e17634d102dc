"""Decide whether a piece of shell text is complete, from the text alone, since no shell runs on the server.

The scanner follows the grammar that sh, bash, dash, busybox and ksh share. Where they differ, where the grammar is
ambiguous and for rare constructs it says "not whole", which is always safe.

`sh -n` and `eval` of each item in the container would be shorter, but change what items do: `sh -n` accepts an open
here-document and a last backslash, so that an item which the next one continues would run alone; a syntax error within
`eval` ends dash before the failed item is reported; `set -x` prints each `eval`, and errors name it instead of a line.
"""

from __future__ import annotations

import re

from web.config.steps.shell_frame import OPERATORS, Frame, NotWhole

MAX_NESTING = 50

PLAIN = re.compile(r"[^ \t\n;&|()<>\"'`$\\#]+")
ARITHMETIC = re.compile(r"[^()\"'`\\#;\n{}$]+")
QUOTED = re.compile(r"[^\"`$\\]+")
BRACED_NAME = re.compile(r"[#!]?(?:\w+|[@*?$-])|#")
BRACED = re.compile(r"[^\"'`$\\{}\n]+")
DELIMITER = re.compile(r"(-?)[ \t]*(?:'([^'\n]+)'|\"([^\"\n$`\\]+)\"|\\?([\w.%+-]+))(?=[\s;&|()<>]|$)")
ARRAY_WORD = re.compile(r"[^ \t\n;&|()<>\"'`$\\#\[]+")
ARRAY = re.compile(r"[A-Za-z_]\w*\+?=")
SUBSCRIPT = re.compile(r"\w+\[")
WHOLE_SUBSCRIPT = re.compile(r"\w+\[[^\[\]\"'`\\]*\]")
SIMPLE_EXPANSION = re.compile(r"\$\{\w+\}")
EXPANSION = re.compile(r"\$[({]|`")


def stands_alone(item: str) -> bool:
    """Return True only if the text after `item` and a newline certainly begins a new command."""
    if "\r" in item or "\0" in item:
        return False
    scanner = _Scanner(item)
    try:
        scanner.commands(nested=False)
    except NotWhole:
        return False
    return True


class _Scanner:
    """Reads shell text from left to right, raising NotWhole as soon as it cannot be complete."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.heredocs: list[tuple[str, bool, bool]] = []  # (delimiter, strip tabs, literal body)

    def commands(self, *, nested: bool) -> None:
        """Read a list of commands: to the end of the text or, when nested, to the `)` that closes it."""
        frame = Frame()
        outer, self.heredocs = self.heredocs, []
        while self.at < len(self.text):
            if nested and self.text[self.at] == ")" and not frame.open:
                break
            self._token(frame)
        if nested != (self.at < len(self.text)) or self.heredocs:
            raise NotWhole
        frame.check_end()
        self.at += nested
        self.heredocs = outer

    def _token(self, frame: Frame) -> None:
        character = self.text[self.at]
        if character in " \t":
            self.at += 1
        elif character == "\n":
            self.at += 1
            self._heredoc_bodies()
            frame.newline()
        elif self.text.startswith("\\\n", self.at):
            self._skip_continuation()
        elif character == "#":
            end = self.text.find("\n", self.at)
            self.at = len(self.text) if end < 0 else end
        elif character in ";&|()<>":
            self._operator(frame)
        else:
            self._word(frame)

    def _skip_continuation(self) -> None:
        if self.at + 2 == len(self.text):
            raise NotWhole
        self.at += 2

    def _operator(self, frame: Frame) -> None:
        text, at = self.text, self.at
        if text.startswith("((", at):
            if not frame.arithmetic_may_begin():
                raise NotWhole
            self.at += 2
            self._arithmetic(shift_allowed=False)
            frame.compound_ended()
        elif text[at] in "()":
            self.at += 1
            frame.parenthesis(text[at])
        elif text.startswith("<<", at) and not text.startswith("<<<", at):
            self._heredoc()
            frame.word("")
        else:
            operator = next(op for op in OPERATORS if text.startswith(op, at))
            self.at += len(operator)
            frame.operator(operator, process=text.startswith("(", self.at))

    def _word(self, frame: Frame) -> None:
        start, literal = self.at, True
        while self.at < len(self.text) and self.text[self.at] not in " \t\n;&|()<>":
            if self.text.startswith("\\\n", self.at):
                raise NotWhole  # a word split over lines: rare, and it may form a reserved word
            if match := PLAIN.match(self.text, self.at):
                self.at = match.end()
                literal = not self._array(start) and literal
            elif self.text[self.at] == "#":
                self.at += 1
            else:
                literal = False
                self._quoting()
        word = self.text[start : self.at]
        if SUBSCRIPT.match(word) and not WHOLE_SUBSCRIPT.match(word):
            raise NotWhole  # bash looks for the ] beyond the end of the line
        frame.word(word if literal else "")

    def _quoting(self) -> None:
        """Read one quotation or expansion of a word."""
        character, self.at = self.text[self.at], self.at + 1
        if character == "\\":
            self._need(1)
        elif character == "'":
            self._single_quoted()
        elif character == '"':
            self._double_quoted()
        elif character == "`":
            self._backquoted()
        else:
            self._dollar(in_double_quotes=False)

    def _need(self, count: int) -> None:
        self.at += count
        if self.at > len(self.text):
            raise NotWhole

    def _until(self, mark: str) -> str:
        """Return the text before the next `mark`, which is consumed as well."""
        end = self.text.find(mark, self.at)
        if end < 0:
            raise NotWhole
        content, self.at = self.text[self.at : end], end + 1
        return content

    def _single_quoted(self) -> str:
        content = self._until("'")
        self._check_no_heredoc_waits(content)
        return content

    def _double_quoted(self) -> None:
        while True:
            start = self.at
            if match := QUOTED.match(self.text, self.at):
                self.at = match.end()
            self._check_no_heredoc_waits(self.text[start : self.at])
            self._need(1)
            character = self.text[self.at - 1]
            if character == '"':
                return
            if character == "\\":
                self._need(1)
            elif character == "`":
                self._backquoted()
            elif character == "$":
                self._dollar(in_double_quotes=True)

    def _check_no_heredoc_waits(self, content: str) -> None:
        if self.heredocs and "\n" in content:
            raise NotWhole

    def _backquoted(self) -> None:
        content = self._until("`")
        if "\\" in content or "#" in content or "<<" in content:
            raise NotWhole
        self._check_no_heredoc_waits(content)
        _Scanner(content).commands(nested=False)

    def _dollar(self, *, in_double_quotes: bool) -> None:
        """Read what follows a `$`."""
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise NotWhole
        self._expansion(in_double_quotes=in_double_quotes)
        self.depth -= 1

    def _expansion(self, *, in_double_quotes: bool) -> None:
        text = self.text
        if text.startswith("((", self.at):
            self.at += 2
            self._arithmetic(shift_allowed=True)
        elif text.startswith("(", self.at):
            self.at += 1
            if self.heredocs:
                raise NotWhole
            self.commands(nested=True)
        elif text.startswith("{", self.at):
            self.at += 1
            self._braced()
        elif text.startswith("'", self.at) and not in_double_quotes:
            self.at += 1
            if "\\" in self._single_quoted():
                raise NotWhole  # bash and dash disagree where $'a\'b' ends
        elif text.startswith(("#", "$"), self.at):
            self.at += 1

    def _braced(self) -> None:
        """Read a `${...}` after its opening brace."""
        name = BRACED_NAME.match(self.text, self.at)
        if not name:
            raise NotWhole
        self.at = name.end()
        while True:
            if match := BRACED.match(self.text, self.at):
                self.at = match.end()
            self._need(1)
            character = self.text[self.at - 1]
            if character == "}":
                return
            if character == '"':
                self._double_quoted()
            elif character == "$":
                self._dollar(in_double_quotes=True)
            else:
                raise NotWhole

    def _arithmetic(self, *, shift_allowed: bool) -> None:
        """Read up to the `))` that closes a `((`, which may contain variables but neither quotes nor commands."""
        start, depth = self.at, 2
        while depth:
            if match := ARITHMETIC.match(self.text, self.at):
                self.at = match.end()
            self._need(1)
            character = self.text[self.at - 1]
            if character in "()":
                depth += 1 if character == "(" else -1
            elif character == "$":
                self._dollar(in_double_quotes=True)
            elif character != ";":
                raise NotWhole
        content = self.text[start : self.at]
        if not content.endswith("))") or ("<<" in content and not shift_allowed):
            raise NotWhole

    def _array(self, start: int) -> bool:
        """Read the rest of `name=(...)` if the word that began at `start` is one."""
        if not self.text.startswith("(", self.at) or not ARRAY.fullmatch(self.text, start, self.at):
            return False
        self.at += 1
        while True:
            self._need(1)
            character = self.text[self.at - 1]
            if character == ")":
                return True
            if character in ";&|(<>#[":
                raise NotWhole
            if character in " \t\n":
                self._check_no_heredoc_waits(character)
            elif match := ARRAY_WORD.match(self.text, self.at - 1):
                self.at = match.end()
            else:
                self.at -= 1
                self._quoting()

    def _heredoc(self) -> None:
        self.at += 2
        match = DELIMITER.match(self.text, self.at)
        if not match:
            raise NotWhole
        dash, single, double, bare = match.groups()
        literal = bare is None or "\\" in match.group(0)
        self.heredocs.append((single or double or bare, bool(dash), literal))
        self.at = match.end()

    def _heredoc_bodies(self) -> None:
        for delimiter, strip, literal in self.heredocs:
            body: list[str] = []
            while True:
                if self.at >= len(self.text):
                    raise NotWhole
                end = self.text.find("\n", self.at)
                end = len(self.text) if end < 0 else end
                line, self.at = self.text[self.at : end], end + 1
                if (line.lstrip("\t") if strip else line) == delimiter:
                    break
                body.append(line)
            if not literal:
                _check_heredoc_body("\n".join(body))
        self.at = min(self.at, len(self.text))
        self.heredocs.clear()


def _check_heredoc_body(body: str) -> None:
    """Check that the expansions in a body are complete: some shells look for their ends beyond the delimiter."""
    body = SIMPLE_EXPANSION.sub("", body)
    if body.endswith("\\") or ('"' in body and EXPANSION.search(body)):
        raise NotWhole
    scanner = _Scanner(body.replace('"', "") + '"')
    scanner._double_quoted()  # noqa: SLF001 - same module
    if scanner.at != len(scanner.text):
        raise NotWhole
