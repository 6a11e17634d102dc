"""From uploading a package of 20 MB to the first log line of its run over HTTP.

Floor: the same form posted to the same server and thrown away, then `docker run` of the same image and network.
Promise: at most 1.5 times the floor. The package cannot be compressed, and each one is new; the image is present. Both
are measured alternately.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import time

from bench import IMAGE, report, scratch, times, wait_for
from push_to_first_line import floor as docker_run

ROUNDS, FILES, BYTES = 9, 40, 20_000_000
YAML = f"- step:\n    name: hello\n    image: {IMAGE}\n    command: echo hello from pushmill\n"


def package() -> bytes:
    made = io.BytesIO()
    files = {"valohai.yaml": YAML.encode()} | {f"data/{n}": os.urandom(BYTES // FILES) for n in range(FILES)}
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(made.getvalue(), 1, mtime=0)


def main() -> None:
    with scratch() as (instance, _):
        instance.client.post("/projects/", json={"name": "bench"}).raise_for_status()
        address = "/projects/bench/import-package/"

        def thrown_away(data: bytes) -> float:
            """Two files are refused: the server reads the form to its end, and stores nothing."""
            started = time.perf_counter()
            answer = instance.client.post(address, files=[("other", b"x"), ("data", data)])
            seconds = time.perf_counter() - started
            assert answer.status_code == 400, answer.text
            return seconds

        def first_line(counter: int) -> bool:
            answer = instance.client.get(f"/executions/bench:{counter}/events/", params={"limit": 20})
            return any(event["stream"] == "stdout" for event in answer.json().get("events", ()))

        def run(data: bytes) -> tuple[float, float]:
            """The seconds of the upload, and until the first line."""
            started = time.perf_counter()
            answer = instance.client.post(address, files={"data": data}).raise_for_status()
            uploaded = time.perf_counter() - started
            request = {"project": "bench", "commit": answer.json()["identifier"], "step": "hello"}
            counter = instance.client.post("/executions/", json=request).raise_for_status().json()["counter"]
            # polling more often would take processor time from what it measures
            wait_for(lambda: first_line(counter), 60, 0.01)
            seconds = time.perf_counter() - started
            instance.wait_final(f"bench:{counter}")
            return uploaded, seconds

        run(package())
        uploads, ours, thrown, floors = [], [], [], []
        for _ in range(ROUNDS):
            data = package()
            thrown.append(thrown_away(data))
            floors.append(thrown[-1] + docker_run())
            for kept, seconds in zip((uploads, ours), run(data), strict=True):
                kept.append(seconds)
        report("upload of a package of 20 MB to the first line", ours, floors, unit="s", promise=times(1.5))
        report("of it the upload, and the floor's", uploads, thrown, unit="s", promise=times(5))


if __name__ == "__main__":
    main()
