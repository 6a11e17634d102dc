"""The addresses of all pages of the demo."""

from __future__ import annotations

from demo_site import Site


def every_page(site: Site) -> list[str]:
    demo, project = site.demo, f"/p/{site.demo.project.name}/"
    return [
        "/", "/runners/", "/users/", "/auth/tokens/", "/audit/", "/api/docs/", "/docs/first-steps/", "/docs/api/", project,
        f"{project}?sort=m.loss&q=state+%3D+complete", f"{project}?q=los+%3E+1", f"{project}compare/",
        f"{project}compare/?e={demo.long.counter}&e={demo.live.counter}&e={demo.failed.counter}",
        f"{project}commits/", f"{project}settings/", f"{project}audit/",
        f"{project}commits/{demo.long.commit_identifier}/", f"{project}commits/{demo.broken.identifier}/", "/p/spirals/",
        f"{project}activity/", f"{project}activity/?show=problems",
        f"{project}deliveries/{demo.delivery}/", f"{project}settings/badge/?metric=accuracy&step=train", "/environments/",
        *(f"{project}settings/{part}/" for part in ("runs", "rules", "variables", "notifications", "members", "delete")),
        "/connect/", f"{project}connect/checks/",
        *(f"/p/attic-models/connect/{step}" for step in ("", "access/", "webhook/", "checks/")),
        f"{project}commits/{demo.foreign.identifier}/", "/p/attic-models/settings/", f"{project}tasks/",
        f"{project}tasks/{demo.task.counter}/", f"{project}?q=task+%3D+{demo.task.counter}", f"{project}pipelines/",
        f"{project}pipelines/{demo.pipeline.counter}/", "/p/spirals/tasks/", "/p/spirals/pipelines/",
        *(f"{project}commits/{demo.long.commit_identifier}/run/?{query}" for query in (
            "step=train", "task=lr-search", "pipeline=full", f"step=train&from={demo.queued.counter}")),
        f"{project}commits/{demo.foreign.identifier}/run/?step=train",
        *(site.page(execution) for execution in (demo.long, demo.live, demo.failed, demo.queued)),
        *(site.page(execution, f"{tab}/") for execution in (demo.long, demo.live) for tab in (
            "log", "charts", "outputs", "resources", "configuration")),
        site.page(demo.long, "log/?show=errors&metrics=hidden"), "/nowhere/", "/p/spirals/executions/7/",
    ]  # fmt: skip
