"""Runs RigQueue's script jobs on a serverless endpoint (RunPod's, or what speaks as it does).

Put it into the endpoint's image beside the scripts and start it there:

    RIGQUEUE_SCRIPTS=/opt/scripts python endpoint_handler.py

Scripts that need RigQueue's generators find the program for them in RIGQUEUE_RUNNER, if the image sets it
(runner-cpu).

Scripts are taken from the folder RIGQUEUE_SCRIPTS alone (this file's own unless set), each in a
process and a working folder of its own, and never through a shell. What is said of it is judged by
the worker that asked, by the same rules as a script on a rig: docs/worker.md.

Try it here: python endpoint_handler.py --rp_serve_api --rp_api_port 8000
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

VERSION = 1
# A result is at most 64 KiB, and the end of stderr 8 KiB: docs/scripts.md.
STDOUT_TAIL = 160 * 1024
STDERR_TAIL = 8 * 1024
# Services limit their answers, RunPod to 20 MB.
MAX_FILES = int(os.environ.get("RIGQUEUE_MAX_ANSWER_MB", "14")) << 20
GRACE = 5.0


class Refused(Exception):
    """The request is nothing that this handler can run."""


def inside(folder: Path, name: Any, what: str) -> Path:
    """The path of `name` in `folder`, which it must not leave."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise Refused(f"its {what} is no path")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or path == folder.resolve():
        raise Refused(f"its {what} {name!r} leaves its folder")
    return path


def script_of(request: dict[str, Any]) -> Path:
    """The script's file."""
    folder = Path(os.environ.get("RIGQUEUE_SCRIPTS") or Path(__file__).parent)
    path = inside(folder, request.get("script"), "script")
    if not path.is_file():
        raise Refused(f"there is no script {request['script']!r} here")
    return path


def arguments(request: dict[str, Any], output: Path | None, inputs: dict[str, Path]) -> list[str]:
    """The arguments with the paths of files in them, as the worker on a rig fills them in."""
    declared = request.get("declared") or request.get("output")
    words = []
    for word in request.get("args", []):
        flag, _, value = word.partition("=")
        if output is not None and word == declared:
            word = str(output)
        elif output is not None and "=" in word and value == declared:
            word = f"{flag}={output}"
        elif output is not None:
            word = word.replace("{output}", str(output))
        for name, path in inputs.items():
            word = word.replace("{input:" + name + "}", str(path))
        words.append(word)
    return words


def environment(request: dict[str, Any], output: Path | None) -> dict[str, str]:
    """What the script finds in its environment: not the service's secrets."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RUNPOD_")}
    own = {
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "RIGQUEUE_RUN": str(request.get("run", "")),
        "RIGQUEUE_JOB": str(request.get("job", "")),
        "RIGQUEUE_ATTEMPT": str(request.get("attempt", 1)),
    }
    if output is not None:
        own["RIGQUEUE_OUTPUT"] = str(output)
    return kept | own


def tail(path: Path, most: int) -> str:
    """The end of a file as text."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - most))
        return file.read().decode("utf-8", "replace")


def files(folder: Path, output: str | None) -> list[dict[str, str]]:
    """The declared output and its sidecar, as far as they are there."""
    found = []
    left = MAX_FILES
    for name in [output, f"{output}.meta.json"] if output else []:
        path = folder / name
        if path.is_symlink() or not path.is_file():
            continue
        left -= path.stat().st_size
        if left < 0:
            raise Refused(f"its output {name!r} is too large for an answer")
        found.append({"name": name, "base64": base64.b64encode(path.read_bytes()).decode()})
    return found


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a script and whatever it started in its session."""
    for ask, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, ask)
        except ProcessLookupError:
            pass
        try:
            process.wait(patience)
            if ask == signal.SIGKILL:
                return
        except subprocess.TimeoutExpired:
            pass


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Runs the script and says how it went."""
    if request.get("rigqueue") != VERSION:
        raise Refused(f"it speaks version {request.get('rigqueue')!r}, not {VERSION}")
    script = script_of(request)
    with tempfile.TemporaryDirectory(prefix="rigqueue-") as place:
        work, said = Path(place) / "work", Path(place) / "said"
        work.mkdir()
        said.mkdir()
        name = request.get("output")
        output = inside(work, name, "output") if name else None
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
        inputs = {}
        for item in request.get("inputs", []):
            path = inside(work / ".inputs", item["name"], "input")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(item["base64"], validate=True))
            inputs[item["name"]] = path
        status = "exited"
        with (said / "out").open("wb") as out, (said / "err").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, str(script), *arguments(request, output, inputs)],
                cwd=work,
                env=environment(request, output),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            try:
                process.wait(float(request["time_limit_seconds"]))
            except subprocess.TimeoutExpired:
                status = "timeout"
            finally:
                # What it left in its session goes with it.
                stop(process)
        return {
            "rigqueue": VERSION,
            "status": status,
            "exit_code": process.returncode,
            "stdout_tail": tail(said / "out", STDOUT_TAIL),
            "stderr_tail": tail(said / "err", STDERR_TAIL),
            "files": files(work, name) if process.returncode == 0 else [],
        }


def handler(job: dict[str, Any]) -> dict[str, Any]:
    """What the service calls for each job."""
    try:
        return run(job["input"])
    except (Refused, KeyError, TypeError, ValueError, AttributeError) as error:
        why = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
        return {"rigqueue": VERSION, "status": "refused", "why": why}


if __name__ == "__main__":
    import runpod

    runpod.serverless.start({"handler": handler})
