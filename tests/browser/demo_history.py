"""The Git repository of the demo: what its last commits changed, a branch of documentation, and one that is broken."""

from __future__ import annotations

import subprocess
from pathlib import Path

BROKEN = b"- step:\n    name: train\n    image: python:3.12-slim\n    comand: python train.py {parameters}\n"
TRAIN = b"""\
import model

optimizer = model.optimizer(learning_rate)
for epoch in range(epochs):
    loss = model.step(optimizer)
    print(model.line(epoch, loss))
"""
SCHEDULE = b"""\
WARM_UP = 2


def rate(learning_rate, epoch):
    return learning_rate * min(1, (epoch + 1) / WARM_UP)
"""
WARMED = TRAIN.replace(b"import model\n", b"import model\nimport schedule\n").replace(
    b"    loss =", b"    optimizer.rate = schedule.rate(learning_rate, epoch)\n    loss ="
)


def make(path: Path, yaml: bytes, messages: tuple[str, str]) -> list[str]:
    """Return the names of the last two commits of main, which have these messages, and of the broken one."""
    first = {"valohai.yaml": yaml, "src/model.py": b"text\n", "src/labels.py": b"text\n" * 40}
    history: tuple[tuple[str, str, dict[str, bytes]], ...] = (
        ("main", "Segment tiles", first),
        ("main", messages[0], {"src/train.py": TRAIN, "src/labels.py": b"text\n" * 9}),
        ("main", messages[1], {"src/train.py": WARMED, "src/schedule.py": SCHEDULE}),
        ("docs", "Describe the plates", {"docs/plates.md": b"text\n"}),
        ("rename", "Rename steps", {"valohai.yaml": BROKEN, "src/steps.py": b"text\n"}),
    )
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
    git = ["git", "-C", str(path)]
    for i, (branch, message, files) in enumerate(history):
        commit = _commit(branch, message, "refs/heads/main^0" if i else "", files)
        subprocess.run([*git, "fast-import", "--quiet"], input=commit, check=True)
    names = [*git, "rev-parse", "main^", "main", "rename"]
    return subprocess.run(names, check=True, capture_output=True, text=True).stdout.split()


def _commit(branch: str, message: str, before: str, files: dict[str, bytes]) -> bytes:
    """Return a commit as git fast-import reads it."""
    lines = f"commit refs/heads/{branch}\ncommitter Ada <ada@example.org> 1764000000 +0000\n"
    lines += f"data {len(message.encode())}\n{message}\n"
    lines += f"from {before}\n" if before else ""
    parts = [f"M 100644 inline {name}\ndata {len(text)}\n".encode() + text + b"\n" for name, text in files.items()]
    return lines.encode() + b"".join(parts)
