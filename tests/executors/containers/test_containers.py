"""Jobs in containers: what each engine is told, by a fake one on PATH, and that a run is supervised as any other."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from signal import SIGTERM
from typing import Any

import pytest

from greenrun.core.energy.model import Device
from greenrun.core.errors import ExecutorError
from greenrun.core.jobs.job import Run
from greenrun.core.jobs.runs.status import EndedBy
from greenrun.executors.containers.container_command import APPTAINER, PODMAN, ContainerPlan, environment, passed, words
from greenrun.executors.containers.engines import (
    ContainerEngine,
    contained,
    find_engine,
    podman_devices,
    why_not_mounted,
)
from tests.core.build import T0, job
from tests.executors.bench import Bench
from tests.patience import until

DIGEST = "sha256:" + "d" * 64
# It notes its words, a line each, and does as it is told as far as that needs no container.
FAKE_PODMAN = """#!/bin/sh
for word in "$@"; do echo "$word"; done >>"$CALLS"; echo END >>"$CALLS"
case "$1 $2" in
"image inspect") [ -e "$IMAGES/$6" ] || exit 1; echo "abc123 DIGEST"; exit 0;;
"pull --quiet")
    case "$4" in lab/*) mkdir -p "$IMAGES/lab"; touch "$IMAGES/$4"; exit 0;; esac
    echo "no such image" >&2; exit 125;;
"kill --signal="*) kill "-${2#--signal=}" "$3"; exit;;
esac
trap 'exit 0' TERM  # as the real one does
while [ "$1" != -- ]; do
    case "$1" in --cidfile=*) cid=${1#--cidfile=};; esac
    shift
done
echo $$ >"$cid"
shift 2
exec "$@"
""".replace("DIGEST", DIGEST)
FAKE_APPTAINER = """#!/bin/sh
for word in "$@"; do echo "$word"; done >>"$CALLS"; echo END >>"$CALLS"
env | grep ^APPTAINERENV_ | sort >>"$CALLS"
while [ "$1" != "$IMAGE" ]; do shift; done
shift
exec "$@"
"""


def plan(engine: str, **more: Any) -> ContainerPlan:
    fields = {
        "engine": engine, "program": f"/usr/bin/{engine}", "image": "lab/image:1", "workdir": "/work", "devices": [],
        "mounts": ["/work", "/state/checkpoints/1"], "gpus": "", "label": "1.1", "record": "/state/runs/1.1",
        "has_init": False, "counted": 0,
    }  # fmt: skip
    return ContainerPlan({**fields, **more})


def gpu(name: str, index: int, vendor: str = "nvidia") -> Device:
    return Device(id=name, index=index, model="x", source="x", vendor=vendor, memory_bytes=None, power_w=None)


# what engines are told


def test_podman_is_told_names_of_variables_alone_and_keeps_the_container_in_the_runs_control_group() -> None:
    own = {"KEY": "topsecret", "PATH": "/bin", "LD_PRELOAD": "x", "HOME": "/home/ada", "GREENRUN_JOB_ID": "1"}
    told = words(plan(PODMAN, devices=["nvidia.com/gpu=0"]), "abc123", own, ["python", "train.py", "--", "-x"])
    assert told == [
        "/usr/bin/podman", "run", "--rm", "--cgroups=disabled", "--ipc=host", "--network=host",
        "--log-driver=none", "--security-opt=label=disable", "--label=greenrun.run=1.1",
        "--cidfile=/state/runs/1.1/container", "--workdir=/work",
        "--volume=/work:/work", "--volume=/state/checkpoints/1:/state/checkpoints/1", "--device=nvidia.com/gpu=0",
        "--env=GREENRUN_JOB_ID", "--env=KEY", "--", "abc123", "python", "train.py", "--", "-x",
    ]  # fmt: skip
    assert environment(plan(PODMAN), own) == own
    indexed = environment(plan(PODMAN, counted=2), {**own, "CUDA_VISIBLE_DEVICES": "1,3"})
    assert indexed["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert environment(plan(PODMAN), {**own, "CONTAINER_HOST": "unix:///x", "CONTAINER_SSHKEY": "k"}) == own
    assert passed(["CONTAINER_HOST", "CONTAINER_CONNECTION", "CONTAINER_NAME"]) == ["CONTAINER_NAME"]
    assert "--init" in words(plan(PODMAN, has_init=True), "abc123", own, ["true"])


@pytest.mark.parametrize(("gpus", "option"), [("nvidia", ["--nv"]), ("amd", ["--rocm"]), ("", [])])
def test_apptainer_gets_variables_through_its_environment(gpus: str, option: list[str]) -> None:
    told = words(plan(APPTAINER, gpus=gpus), "/images/a.sif", {"KEY": "topsecret"}, ["python", "train.py"])
    assert told == [
        "/usr/bin/apptainer", "exec", "--cleanenv", "--no-home", "--pwd=/work", "--bind", "/work:/work", "--bind",
        "/state/checkpoints/1:/state/checkpoints/1", *option, "/images/a.sif", "python", "train.py",
    ]  # fmt: skip
    own = {"KEY": "topsecret", "PATH": "/bin"}
    assert environment(plan(APPTAINER), own) == {
        **own, "APPTAINERENV_KEY": "topsecret", "SINGULARITYENV_KEY": "topsecret",
    }  # fmt: skip


def test_what_describes_the_machine_is_not_passed_on() -> None:
    ours = ["PATH", "HOME", "LD_LIBRARY_PATH", "CONDA_PREFIX", "XDG_RUNTIME_DIR", "CONTAINERS_CONF", "PYTHONPATH", ""]
    assert passed([*ours, "LANG", "CUDA_VISIBLE_DEVICES"]) == ["CUDA_VISIBLE_DEVICES", "LANG"]


def test_gpus_are_given_by_cdi_where_it_knows_them_and_by_their_files_elsewhere(tmp_path: Path) -> None:
    devices = [gpu("GPU-a", 0), gpu("GPU-b", 1)]
    there = {"/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia1"}.__contains__
    found = list(podman_devices(["GPU-b"], devices, [tmp_path / "none"], there))
    assert found == ["/dev/nvidiactl", "/dev/nvidia1"]
    (tmp_path / "other.yaml").write_text("kind: vendor.com/net\n")
    assert list(podman_devices(["GPU-b"], devices, [tmp_path], there)) == found
    (tmp_path / "nvidia.yaml").write_text('kind: nvidia.com/gpu\ndevices:\n- name: "0"\n- name: GPU-a\n')
    told = [list(podman_devices([name], devices, [tmp_path], there)) for name in ("GPU-a", "GPU-b")]
    assert told == [["nvidia.com/gpu=GPU-a"], ["nvidia.com/gpu=1"]]
    assert list(podman_devices([], devices, [tmp_path], there)) == []


def test_the_engine_is_what_the_site_wants_and_what_is_installed(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="neither podman nor apptainer is installed"):
        find_engine(ContainerEngine.AUTO, "lab/image", str(tmp_path))
    for name in ("podman", "singularity"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)

    def found(wanted: ContainerEngine, image: str) -> tuple[str, str]:
        engine = find_engine(wanted, image, str(tmp_path))
        return engine.name, Path(engine.program).name

    assert found(ContainerEngine.AUTO, "lab/image") == ("podman", "podman")
    assert found(ContainerEngine.AUTO, "./image.sif") == ("apptainer", "singularity")
    assert found(ContainerEngine.APPTAINER, "lab/image") == ("apptainer", "singularity")
    with pytest.raises(ExecutorError, match="this site runs no containers"):
        found(ContainerEngine.NONE, "lab/image")
    (tmp_path / "singularity").unlink()
    with pytest.raises(ExecutorError, match="no apptainer is installed"):
        found(ContainerEngine.AUTO, "./image.sif")


def test_a_folder_that_no_engine_can_mount_is_named() -> None:
    assert why_not_mounted(["/a", "/b"]) is None
    assert "/b:c has a colon" in (why_not_mounted(["/a", "/b:c"]) or "")


@pytest.mark.parametrize("wrong", ["checkpoints", "folder"])
def test_a_run_is_not_started_whose_own_folders_no_engine_can_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    (tmp_path / "podman").write_text("#!/bin/sh\n")
    (tmp_path / "podman").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    run = Run(id=1, job_id=1, number=1, token="t", devices=(), claimed_at=T0)
    folders = {"checkpoints": Path("/state/checkpoints"), "folder": Path("/state/runs/1"), wrong: Path("/state,old/1")}
    with pytest.raises(ExecutorError, match="/state,old/1 has a colon or a comma"):
        contained(run, job(1, container="lab/image"), ContainerEngine.PODMAN, devices=(), **folders)


# runs, by an engine that makes no containers


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put a fake engine on PATH."""

    def put(name: str, text: str) -> None:
        (tmp_path / "bin").mkdir(exist_ok=True)
        program = tmp_path / "bin" / name
        program.write_text(text)
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")

    return put


def start(bench: Bench, tmp_path: Path, *command: str, image: str = "lab/image:1", **more: Any) -> Run:
    env = {
        "PATH": "/usr/bin:/bin",
        "CALLS": str(tmp_path / "calls"),
        "IMAGES": str(tmp_path / "images"),
        "IMAGE": image,
    }
    return bench.start(*command, container=image, env={**env, "KEY": "topsecret"}, **more)


def calls(tmp_path: Path) -> list[list[str]]:
    text = (tmp_path / "calls").read_text()
    return [call.split("\n") for call in text.removesuffix("END\n").split("\nEND\n")]


def test_a_run_in_a_container_has_its_exit_code_its_log_and_its_image_by_digest(
    bench: Bench, tmp_path: Path, engine: Callable[[str, str], None]
) -> None:
    engine("podman", FAKE_PODMAN)
    run = start(bench, tmp_path, "sh", "-c", 'echo "$KEY in $PWD"; exit 7')
    status = bench.end(run)
    log = Path(status.log or "").read_text()
    assert (status.exit_code, status.image, log) == (
        7, f"lab/image:1@{DIGEST}", f"topsecret in {bench.workdir}\n",
    )  # fmt: skip
    made = calls(tmp_path)
    assert [call[:2] for call in made] == [
        ["image", "inspect"],
        ["pull", "--quiet"],
        ["image", "inspect"],
        ["run", "--rm"],
    ]
    assert "topsecret" not in (tmp_path / "calls").read_text()
    assert {f"--volume={bench.workdir}:{bench.workdir}", "--env=KEY", "abc123"} <= set(made[-1])
    again = bench.end(start(bench, tmp_path, "true"))
    assert (again.exit_code, len(calls(tmp_path)) - len(made)) == (0, 2)  # it is here: not pulled again


def test_an_image_that_cannot_be_had_is_told_in_the_log(
    bench: Bench, tmp_path: Path, engine: Callable[[str, str], None]
) -> None:
    engine("podman", FAKE_PODMAN)
    status = bench.end(start(bench, tmp_path, "true", image="none/such"))
    log = Path(status.log or "").read_text()
    assert (status.exit_code, status.image) == (125, None)
    assert "no such image" in log
    assert "greenrun: the container was not started: there is no image none/such here" in log


def test_a_container_is_stopped_and_signalled_as_any_run(
    bench: Bench, tmp_path: Path, engine: Callable[[str, str], None]
) -> None:
    engine("podman", FAKE_PODMAN)
    script = "trap 'echo got; exit 3' TERM; touch up; while :; do sleep 0.05; done"
    run = start(bench, tmp_path, "sh", "-c", script, grace=timedelta(seconds=30))
    until(lambda: (bench.workdir / "up").exists())
    bench.executor.stop(run, "test")
    status = bench.end(run)
    assert (status.ended_by, status.exit_code, "got" in Path(status.log or "").read_text()) == (EndedBy.STOP, 3, True)
    deaf = start(bench, tmp_path, "sh", "-c", "trap '' TERM; touch deaf; while :; do sleep 0.05; done",
                 grace=timedelta(0), time_limit=None)  # fmt: skip
    until(lambda: (bench.workdir / "deaf").exists())
    bench.executor.stop(deaf, "test")
    assert bench.end(deaf).signal not in (None, SIGTERM)


def test_an_image_of_apptainer_is_known_by_the_checksum_of_its_file(
    bench: Bench, tmp_path: Path, engine: Callable[[str, str], None]
) -> None:
    engine("apptainer", FAKE_APPTAINER)
    image = bench.workdir / "image.sif"
    image.write_bytes(b"image")
    status = bench.end(start(bench, tmp_path, "sh", "-c", "exit 4", image=str(image)))
    sha256 = "6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d"
    assert (status.exit_code, status.image) == (4, f"{image}@sha256:{sha256}")
    text = (tmp_path / "calls").read_text()
    assert "APPTAINERENV_KEY=topsecret" in text.partition("END")[2]
    assert "topsecret" not in text.partition("END")[0]


def test_without_an_engine_nothing_is_started(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(ExecutorError, match="neither podman nor apptainer is installed"):
        start(bench, tmp_path, "true")
