"""State of the commands at one nesting level of shell text."""

from __future__ import annotations

OPERATORS = (
    "<<<",
    ";;&",
    "&&",
    "||",
    ";;",
    ";&",
    "|&",
    "&>>",
    "&>",
    ">>",
    ">&",
    ">|",
    "<&",
    "<>",
    ";",
    "&",
    "|",
    "<",
    ">",
)
UNFINISHED = frozenset({"&&", "||", "|", "|&", "!"})
REDIRECTIONS = frozenset({"<<<", "&>>", "&>", ">>", ">&", ">|", "<&", "<>", "<", ">"})
LOOPS = frozenset({"for", "select", "while", "until"})
BRANCHES = frozenset({"then", "else", "elif"})
# Words that rewrite the following text (alias), or belong to one shell only (coproc, and zsh's loops).
STRANGE = frozenset({"alias", "coproc", "foreach", "repeat", "end", "always"})
CLOSERS = {"fi": "if", "done": "do", "esac": "case", "}": "{"}


class NotWhole(Exception):
    """Raised when the text is incomplete, or when that cannot be determined."""


class Frame:
    """The open constructs at one nesting level, and whether a reserved word may follow."""

    def __init__(self) -> None:
        self.open: list[str] = []  # if, loop, do, case head, pattern, case, {, ( of a subshell, <( and f( of a name
        self.start = True  # a reserved word is recognised here
        self.pending = ""  # an operator that needs an operand
        self.body_due = False  # a function was named and its body has not followed yet
        self.empty_parentheses = False  # the last token was a `(` that may belong to a function
        self.name_due = False  # the name after `function` is missing
        self.test_open = False  # within [[ ]]

    def check_end(self) -> None:
        if self.open or self.pending or self.body_due or self.test_open or self.name_due:
            raise NotWhole

    def newline(self) -> None:
        if self.pending in REDIRECTIONS or self.test_open or self.name_due:
            raise NotWhole
        self.start = self.start or self._top() != "pattern"

    def operator(self, operator: str, *, process: bool) -> None:
        self.empty_parentheses = False
        if operator in REDIRECTIONS:
            if self._top() == "pattern":
                raise NotWhole  # bash continues reading after a `<(` there
            self.pending = "<(" if process and operator in "<>" else operator
            return
        if self.pending or self.body_due:
            raise NotWhole
        if operator in (";;", ";&", ";;&"):
            self._replace("case", "pattern")
            self.start = False
        elif self._top() != "pattern":
            self.pending = operator if operator in UNFINISHED else ""
            self.start = not self.test_open
        elif operator != "|":
            raise NotWhole

    def arithmetic_may_begin(self) -> bool:
        return (self.start or self._top() == "loop") and not self.body_due and not self.test_open

    def compound_ended(self) -> None:
        self.pending, self.start, self.empty_parentheses = "", True, False

    def parenthesis(self, character: str) -> None:
        if character == "(":
            self._open_parenthesis()
        else:
            self._close_parenthesis()

    def _open_parenthesis(self) -> None:
        if self._top() == "pattern":
            return
        opened = "(" if self.start and not self.body_due else "f("
        if self.pending == "<(" or self.test_open:
            opened = "<("
        self.open.append(opened)
        self.empty_parentheses = opened == "f("
        self.pending, self.start = "", not self.test_open

    def _close_parenthesis(self) -> None:
        if self.pending:
            raise NotWhole
        if self._top() == "pattern":
            self._replace("pattern", "case")
            self.start = True
            return
        opened = self.open.pop() if self.open else ""
        if opened not in ("(", "<(", "f(") or (opened == "f(" and not self.empty_parentheses):
            raise NotWhole
        self.body_due, self.empty_parentheses = self.empty_parentheses, False
        self.start = opened != "<("

    def word(self, word: str) -> None:
        """Process a word; "" stands for one with quotes or expansions, which is never reserved."""
        pending, self.pending, self.empty_parentheses = self.pending, "", False
        if self._top() == "pattern":
            self._pattern_word(word)
        elif self.name_due:
            self.name_due, self.body_due, self.start = False, True, True
        elif pending in REDIRECTIONS or not self.start:
            self._argument(word)
        elif word in STRANGE or (self.body_due and word != "{"):
            raise NotWhole
        else:
            self._first_word(word)

    def _pattern_word(self, word: str) -> None:
        if word == "esac":
            self.open.pop()
            self.start = True

    def _argument(self, word: str) -> None:
        self.start = False
        if word == "]]" and self.test_open:
            self.test_open = False
            self.start = True
        elif word == "in" and self._top() == "case head":
            self._replace("case head", "pattern")

    def _first_word(self, word: str) -> None:
        self.start = True
        if word == "if":
            self.open.append("if")
        elif word in LOOPS:
            self.open.append("loop")
            self.start = word in ("while", "until")
        elif word == "case":
            self.open.append("case head")
            self.start = False
        elif word == "{":
            self.open.append("{")
            self.body_due = False
        elif word == "function":
            self.name_due = True
        elif word in ("!", "time"):
            self.pending = "!"
        elif word == "[[":
            self.test_open, self.start = True, False
        else:
            self._closing_word(word)

    def _closing_word(self, word: str) -> None:
        if word in BRANCHES:
            self._replace("if", "if")
        elif word == "do":
            self._replace("loop", "do")
        elif word in CLOSERS:
            self._replace(CLOSERS[word], None)
        else:
            self.start = False

    def _top(self) -> str:
        return self.open[-1] if self.open else ""

    def _replace(self, expected: str, by: str | None) -> None:
        if self._top() != expected:
            raise NotWhole
        self.open.pop()
        if by is not None:
            self.open.append(by)
