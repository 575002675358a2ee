"""The script that a run in a container executes: it finds out which image that is, notes it, and starts the engine.

It is supervised as any command is, so a pull that takes long is bounded by the job's time limit and ends on a stop.
Apptainer it becomes. Podman it waits for: that ends on TERM by itself, with exit code 0 (seen with 4.3), before what is
in the container has; so the container is told through another one, and the first tells its true exit code.
"""

# No pathlib, as in the shim: it is loaded beside every run in a container.

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

IMAGE, CONTAINER = "image.json", "container"  # in the run's folder
PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
NOT_EXECUTED = 126
_BLOCK_BYTES = 1 << 20


def main(plan_text: str, command: Sequence[str]) -> int:
    """Become the engine, with the command in a container; return an exit code where that is not possible."""
    from greenrun.executors.containers.container_command import PODMAN, ContainerPlan, environment, words
    from greenrun.executors.run_folder import VERSION, write_record

    plan = ContainerPlan(json.loads(plan_text))
    own = environment(plan, os.environ)
    try:
        image, digest = _of_podman(plan.program, plan.image, own) if plan.engine == PODMAN else _of_file(plan.image)
        record = {"version": VERSION, "image": plan.image, "digest": digest}
        write_record(plan.record, IMAGE, record, sync=False)
        told = words(plan, image, os.environ, command)
        sys.stdout.flush()
        if plan.engine == PODMAN:
            return _waited_for(told, plan.program, f"{plan.record}/{CONTAINER}", own)
        os.execve(plan.program, told, own)
    except OSError as error:
        print(f"greenrun: the container was not started: {error}", file=sys.stderr)
    except _Refused as error:
        print(f"greenrun: the container was not started: {error}", file=sys.stderr)
        return error.code
    return NOT_EXECUTED


class _Refused(Exception):
    """The engine has said no, with this exit code, and its reason in the log already."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def _of_podman(program: str, image: str, own: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the id and the digest of an image, which is pulled if it is not there; raise _Refused, OSError.

    The id is what is run: a tag might mean another image a moment later.
    """
    found = _inspected(program, image, own)
    if found is None:
        code = subprocess.call([program, "pull", "--quiet", "--", image], stdin=subprocess.DEVNULL, env=own)
        if code:
            raise _Refused(f"there is no image {image} here, and it could not be pulled", _exit_code(code))
        found = _inspected(program, image, own)
    if found is None:
        raise _Refused(f"podman does not say which image {image} is", NOT_EXECUTED)
    return found


def _inspected(program: str, image: str, own: Mapping[str, str]) -> tuple[str, str | None] | None:
    asked = [program, "image", "inspect", "--format", "{{.Id}} {{.Digest}}", "--", image]
    done = subprocess.run(
        asked, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, env=own
    )
    told = done.stdout.decode(errors="replace").split()
    if done.returncode or not told:
        return None
    return told[0], told[1] if len(told) > 1 else f"sha256:{told[0]}"


def _waited_for(told: Sequence[str], program: str, cid_file: str, own: Mapping[str, str]) -> int:
    """Run podman, passing signals on to what is in its container; return the exit code of that. Raise OSError."""
    engine: subprocess.Popen[bytes] | None = None
    early: list[int] = []  # a signal between the start and what passes it on would end this and leave the container

    def pass_on(number: int, frame: object) -> None:
        if engine is None:
            early.append(number)
            return
        container = _container_in(cid_file)
        if container:
            asked = [program, "kill", f"--signal={number}", container]
            subprocess.Popen(
                asked,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
                env=own,
            )
        else:
            engine.send_signal(number)  # it is about to make one

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    engine = subprocess.Popen(told, process_group=0, env=own)  # a signal to the run's group is for the container
    for received in early:
        pass_on(received, None)
    return _exit_code(engine.wait())


def _exit_code(code: int) -> int:
    return code if code >= 0 else 128 - code


def _container_in(cid_file: str) -> str:
    try:
        with open(cid_file, encoding="ascii", errors="replace") as file:
            return file.read(100).strip()
    except OSError:
        return ""


def _of_file(image: str) -> tuple[str, str | None]:
    """Return an image of apptainer and the checksum of its file; of one that is no file it has none."""
    if not os.path.isfile(image):
        return image, None
    digest = hashlib.sha256()
    with open(image, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return image, f"sha256:{digest.hexdigest()}"


if __name__ == "__main__":
    sys.path.append(__file__.rpartition("/greenrun/executors/")[0])
    sys.exit(main(sys.argv[1], sys.argv[2:]))
