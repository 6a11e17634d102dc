"""Check projects in threads of the web process, for pages, so that a forge that hangs delays no request.

Results are kept in memory: after a restart the page offers to check again.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field

from core import clock
from core.config import Config
from core.errors import Conflict, PushmillError
from web.services.checks.finding import Finding
from web.services.checks.project import examine
from web.services.checks.subject import TIME_LIMIT_S, Subject
from web.services.context import open_context
from web.services.repositories import hosting
from web.services.repositories.keyed_threads import Threads
from web.services.vault import Vault
from web.store import projects

MOST_AT_ONCE = 4
MOST_KEPT = 200  # most projects whose results are kept
BUSY = "the checks of other projects are running: try again in a moment"

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Checked:
    """The findings of one run so far; `done` once it has ended."""

    started_at: str = field(default_factory=clock.now)
    findings: list[Finding] = field(default_factory=list)
    done: bool = False

    def count(self, level: str) -> int:
        return sum(finding.level == level for finding in self.findings)


class Checks:
    """The newest run of each project."""

    def __init__(self) -> None:
        self._threads = Threads(MOST_AT_ONCE)
        self._newest: dict[int, Checked] = {}
        self._lock = threading.Lock()

    def newest(self, project_id: int) -> Checked | None:
        return self._newest.get(project_id)

    def start(self, config: Config, vault: Vault, project_id: int) -> None:
        """Begin to check a project, unless it is being checked. Raises Conflict if too many are."""
        with self._lock:
            if self._threads.busy(project_id):
                return
            checked = Checked()
            if not self._threads.start(project_id, lambda number: _check(config, vault, number, checked)):
                raise Conflict(BUSY)
            self._newest.pop(project_id, None)
            self._newest[project_id] = checked
            if len(self._newest) > MOST_KEPT:
                del self._newest[next(iter(self._newest))]


def _check(config: Config, vault: Vault, project_id: int, checked: Checked) -> None:
    try:
        with open_context(config, vault) as context:
            project = projects.get(context.db, project_id)
            repository, deadline = hosting.get_repository(context.db, project), time.monotonic() + TIME_LIMIT_S
            subject = Subject(context=context, project=project, repository=repository, deadline=deadline)
            for finding in examine(subject):
                checked.findings.append(finding)
    except PushmillError as error:  # such as the project's deletion meanwhile
        checked.findings.append(Finding(check="checks", level="fail", message=str(error)))
    except Exception:
        logger.exception("checking project %s", project_id)
        message = "something went wrong on the server: its log has the details"
        checked.findings.append(Finding(check="checks", level="fail", message=message))
    finally:
        checked.done = True
