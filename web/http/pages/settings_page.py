"""The frame of a project's settings: sections with an address each."""

from __future__ import annotations

from typing import Any

from flask import render_template

from core.model import Project

# endpoint, title, right needed, and the anchors that it had when all sections were one page
SECTIONS = (
    ("settings.show", "Git", "read", ""),
    ("settings.runs", "Executions", "read", "h-runs"),
    ("rules.show", "Rules", "read", "rules rules-answer h-rules"),
    ("settings.variables_page", "Variables", "read", "variables h-variables"),
    ("notifications.show", "Notifications", "read", "reports h-reports"),
    ("members.show", "Members", "read", "members h-members h-from-forge"),
    ("badge_picker.show", "Badge", "read", "badge h-badge"),
    ("settings.delete_page", "Delete", "own", ""),
)


def render_section(name: str, project: Project, **content: Any) -> str:
    """Render the section of this name; `content` are the values of its template in addition to the project."""
    return render_template(f"settings_{name}.html", project=project, sections=SECTIONS, **content)
