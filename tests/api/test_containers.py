"""A container is refused when it is submitted where none can be made, and its program is not looked for on the host."""

from pathlib import Path

import pytest

from greenrun.executors.containers.engines import ContainerEngine
from tests.api.fakes import World, stored


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of engines on PATH, and nothing else."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(folder: Path, name: str) -> None:
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)


def test_without_an_engine_a_container_is_refused_with_what_to_do(engines: Path) -> None:
    answer = World().submit(container="lab/image:1")
    assert (answer.status_code, [row["field"] for row in answer.json()["errors"]]) == (422, ["container"])
    assert "install podman or apptainer, or leave --container out" in answer.text
    told = World(container_engine=ContainerEngine.NONE).submit(container="lab/image:1")
    assert (told.status_code, "this site runs no containers" in told.text) == (422, True)


def test_the_program_of_a_container_is_in_its_image(engines: Path) -> None:
    install(engines, "podman")
    world = World()
    answer = world.submit(container="lab/image:1", command=["/only/there", "x"])
    assert (answer.status_code, answer.json().get("container")) == (201, "lab/image:1"), answer.text
    assert world.submit(command=["/only/there", "x"]).status_code == 422


@pytest.mark.parametrize("image", ["--privileged", "", "a b", "x\ny"])
def test_a_name_that_is_no_image_is_refused(engines: Path, image: str) -> None:
    install(engines, "podman")
    answer = World().submit(container=image)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "container")


def test_the_file_of_an_image_has_to_be_there_and_takes_apptainer(engines: Path) -> None:
    install(engines, "podman")
    assert "no apptainer is installed" in World().submit(container="./image.sif").text
    install(engines, "apptainer")
    assert "there is no image /image.sif" in World().submit(container="./image.sif").text
    (engines / "image.sif").write_bytes(b"x")
    assert World().submit(container=str(engines / "image.sif")).status_code == 201


def test_a_container_can_be_changed_and_left(engines: Path) -> None:
    install(engines, "podman")
    world = World()
    world.store.keep(stored(1, gpus=0, container="lab/image:1"))
    told = world.ask("POST", "/v1/jobs/1/edit", json={"container": "lab/image:2"})
    assert (told.status_code, told.json()["container"]) == (200, "lab/image:2"), told.text
    (engines / "podman").unlink()
    assert world.ask("POST", "/v1/jobs/1/edit", json={"name": "x"}).status_code == 200
    assert world.ask("POST", "/v1/jobs/1/edit", json={"container": "lab/image:3"}).status_code == 422
