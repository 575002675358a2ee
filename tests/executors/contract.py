"""The promises that every executor keeps; a test class per executor inherits them and provides the `bench`."""

import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from greenrun.clock import utc_now
from greenrun.core.jobs.runs.status import EndedBy, Phase
from greenrun.executors.command_files.noted_files import noted
from tests.executors.bench import PATH, Bench, alive
from tests.patience import until

STUBBORN = "trap '' TERM; echo ready > ready; while :; do sleep 0.1; done"

IDLES = "echo ready > ready; while :; do sleep 0.05; done"
SAVES = "trap 'echo saved > saved; touch over; exit 85' USR1;"


class ExecutorContract:
    """Inherit this and provide a fixture `bench` with the executor in it."""

    @pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -SEGV $$", 128 + 11)])
    def test_exit_code_is_the_commands_own_or_128_plus_its_signal(self, bench: Bench, script: str, code: int) -> None:
        status = bench.end(bench.start("sh", "-c", script))
        assert (status.phase, status.exit_code, status.ended_by) == (Phase.EXITED, code, EndedBy.ITSELF)

    def test_run_is_absent_before_it_is_started(self, bench: Bench) -> None:
        run, _ = bench.make("true")
        assert bench.executor.poll(run).phase is Phase.ABSENT

    def test_running_says_since_when_and_where_the_log_is(self, bench: Bench) -> None:
        before = utc_now()
        run = bench.running("sh", "-c", "echo hello; sleep 60")
        status = bench.executor.poll(run)
        assert status.started_at is not None
        assert before <= status.started_at <= utc_now()
        until(lambda: Path(status.log or "").read_text() == "hello\n")
        bench.executor.stop(run, "test")
        bench.end(run)

    def test_end_is_recorded_with_the_instants_of_the_command(self, bench: Bench) -> None:
        before = utc_now()
        status = bench.end(bench.start("sh", "-c", "date +%s.%N; sleep 0.3; date +%s.%N"))
        first, last = (float(line) for line in Path(status.log or "").read_text().split())
        assert status.started_at is not None
        assert status.ended_at is not None
        assert before.timestamp() <= status.started_at.timestamp() <= first
        assert last <= status.ended_at.timestamp() <= utc_now().timestamp()

    def test_log_has_stdout_and_stderr_in_order(self, bench: Bench) -> None:
        status = bench.end(bench.start("sh", "-c", "echo one; echo two >&2; echo three"))
        assert Path(status.log or "").read_text() == "one\ntwo\nthree\n"

    def test_log_that_the_job_names_is_appended_to(self, bench: Bench) -> None:
        bench.write("my.log", "before\n")
        status = bench.end(bench.start("echo", "after", log="my.log"))
        assert (status.log, bench.file("my.log")) == (str(bench.workdir / "my.log"), "before\nafter\n")

    def test_command_gets_its_environment_and_nothing_else(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SECRET_OF_THE_DAEMON", "1")
        (bench.workdir / "secrets").write_text("# keys\nexport KEY='a b=c'\n\nQUOTED=\"x\"\nPLAIN= y\n")
        run, job = bench.make(
            "/usr/bin/env",
            devices=("GPU-a", "GPU-b"),
            env={"PATH": PATH, "LR": "0.1"},
            env_file="secrets",
            finish_by=datetime(2026, 3, 2, 9, tzinfo=UTC),
        )
        bench.executor.start(run, job)
        lines = Path(bench.end(run).log or "").read_text().splitlines()
        got = dict(line.split("=", 1) for line in lines)
        checkpoints = got.pop("GREENRUN_CHECKPOINT_DIR")
        assert Path(checkpoints).is_dir()
        assert Path(got.pop("GREENRUN_PROGRESS")).parent.is_dir()
        assert got == {
            "PATH": PATH,
            "LR": "0.1",
            "PYTHONUNBUFFERED": "1",
            "KEY": "a b=c",
            "QUOTED": "x",
            "PLAIN": "y",
            "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b",
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "GREENRUN_JOB_ID": str(job.id),
            "GREENRUN_RUN": run.label,
            "GREENRUN_ATTEMPT": "1",
            "GREENRUN_RUN_TOKEN": run.token,
            "GREENRUN_FINISH_BY": "2026-03-02T09:00:00Z",
        }

    def test_job_without_gpus_sees_none(self, bench: Bench) -> None:
        status = bench.end(bench.start("sh", "-c", 'echo "[$CUDA_VISIBLE_DEVICES]"'))
        assert Path(status.log or "").read_text() == "[]\n"

    def test_command_runs_in_its_folder_with_nothing_on_standard_input(self, bench: Bench) -> None:
        status = bench.end(bench.start("sh", "-c", "pwd; cat"))
        assert Path(status.log or "").read_text() == f"{bench.workdir}\n"

    def test_command_that_does_not_exist_is_said_in_words_and_code_127(self, bench: Bench) -> None:
        status = bench.end(bench.start("no-such-command"))
        assert (status.phase, status.exit_code, status.ended_by) == (Phase.EXITED, 127, EndedBy.NOT_STARTED)
        assert status.started_at is None
        assert "cannot execute 'no-such-command'" in status.detail
        assert status.detail in Path(status.log or "").read_text()

    @pytest.mark.parametrize(
        ("fields", "code", "words"),
        [
            ({"workdir": "/nonexistent"}, 127, "cannot change to its working folder /nonexistent"),
            ({"env_file": "missing"}, 126, "missing"),
            (
                {"log": "missing/log"},
                126,
                "missing/log cannot be opened: No such file or directory; this was found in order",
            ),
        ],
    )
    def test_what_else_keeps_a_command_from_starting(
        self, bench: Bench, fields: dict[str, str], code: int, words: str
    ) -> None:
        status = bench.end(bench.start("true", **fields))
        assert (status.exit_code, status.ended_by) == (code, EndedBy.NOT_STARTED)
        assert words in status.detail

    def test_a_script_that_was_removed_since_it_was_submitted_is_not_started(self, bench: Bench) -> None:
        script = bench.workdir / "train.py"
        script.write_text("print(1)\n")
        files = noted([str(script)])
        script.unlink()
        status = bench.end(bench.start("python3", "train.py", noted_files=files))
        assert (status.exit_code, status.ended_by) == (127, EndedBy.NOT_STARTED)
        assert status.detail == f"{script} is gone, which was there when the job was submitted"

    def test_a_script_that_has_changed_since_is_run_and_told_in_log_and_status(self, bench: Bench) -> None:
        script = bench.workdir / "train.sh"
        script.write_text("exit 0\n")
        files = noted([str(script)])
        script.write_text("echo out; exit 3\n")
        status = bench.end(bench.start("sh", "train.sh", noted_files=files))
        assert (status.exit_code, status.changed) == (3, f"{script} has changed since the job was submitted")
        assert f"greenrun: {status.changed}" in Path(status.log or "").read_text()
        assert (
            bench.end(bench.start("true", noted_files=files)).changed == ""
        )  # another command since, not of this file

    def test_a_program_whose_interpreter_is_gone_is_said_to_lack_it(self, bench: Bench) -> None:
        program = bench.workdir / "job"
        program.write_text("#!/opt/none\n")
        program.chmod(0o755)
        status = bench.end(bench.start("./job"))
        assert (status.exit_code, status.ended_by) == (127, EndedBy.NOT_STARTED)
        assert "cannot execute './job': the interpreter of" in status.detail
        assert status.detail.endswith("this was found in order when the job was submitted")

    def test_stop_is_term_first(self, bench: Bench) -> None:
        run = bench.start("sh", "-c", f"trap 'echo saved > saved; exit 85' TERM; {IDLES}")
        bench.file("ready")
        bench.executor.stop(run, "bob")
        bench.executor.stop(run, "carol")
        status = bench.end(run)
        assert (status.exit_code, status.ended_by, bench.file("saved")) == (85, EndedBy.STOP, "saved\n")

    def test_stop_kills_what_ignores_term_after_the_grace(self, bench: Bench) -> None:
        run = bench.start("sh", "-c", STUBBORN, grace=timedelta(seconds=0.3))
        bench.file("ready")
        bench.executor.stop(run, "bob")
        status = bench.end(run)
        assert (status.exit_code, status.ended_by) == (128 + 9, EndedBy.STOP)

    def test_stopping_a_run_that_has_ended_changes_nothing(self, bench: Bench) -> None:
        run = bench.start("true")
        before = bench.end(run)
        bench.executor.stop(run, "bob")
        assert bench.executor.poll(run) == before

    def test_time_limit_ends_a_run(self, bench: Bench) -> None:
        status = bench.end(bench.start("sleep", "60", time_limit=timedelta(seconds=0.2)))
        assert (status.exit_code, status.ended_by) == (128 + 15, EndedBy.TIME_LIMIT)

    def test_what_the_command_left_behind_is_gone_when_it_has_exited(self, bench: Bench) -> None:
        left = "sleep 60 & echo $! > plain; setsid sleep 60 & echo $! > detached; exit 4"
        run = bench.start("sh", "-c", left, devices=("GPU-a",))
        status = bench.end(run)
        pids = [int(bench.file(name)) for name in ("plain", "detached")]
        assert (status.exit_code, [alive(pid) for pid in pids]) == (4, [False, False])
        assert bench.executor.held_elsewhere(["GPU-a"]) == {}

    def test_barred_run_cannot_start(self, bench: Bench) -> None:
        run, _ = bench.make("true")
        assert [bench.executor.fence(run), bench.executor.fence(run)] == [True, True]
        assert bench.executor.poll(run).phase is Phase.FENCED

    def test_run_that_has_started_cannot_be_barred(self, bench: Bench) -> None:
        run = bench.start("true")
        bench.end(run)
        assert (bench.executor.fence(run), bench.executor.poll(run).phase) == (False, Phase.EXITED)

    def test_starting_a_run_again_starts_its_command_once(self, bench: Bench) -> None:
        run, job = bench.make("sh", "-c", "echo once >> count; sleep 0.3", devices=("GPU-a",))
        for _ in range(3):
            bench.executor.start(run, job)
        bench.end(run)
        bench.executor.start(run, job)
        assert bench.file("count") == "once\n"

    def test_devices_of_a_run_are_held_until_it_has_exited(self, bench: Bench) -> None:
        run = bench.running("sleep", "60", devices=("GPU-a",))
        held = bench.executor.held_elsewhere(["GPU-a", "GPU-b"])
        assert list(held) == ["GPU-a"]
        assert f"run {run.label} of user {bench.uid}" in held["GPU-a"]
        bench.executor.stop(run, "test")
        bench.end(run)
        assert bench.executor.held_elsewhere(["GPU-a", "GPU-b"]) == {}

    # checkpoints

    def test_a_checkpoint_is_asked_of_the_main_process_alone_and_its_exit_code_is_told(self, bench: Bench) -> None:
        worker = "sh -c 'echo ready > worker; while [ ! -e over ]; do sleep 0.05; done' & "
        run = bench.start("sh", "-c", f"{SAVES} {worker} while :; do sleep 0.05; done", interruptible=True)
        bench.file("worker")
        assert not bench.executor.poll(run).is_checkpointing
        bench.executor.checkpoint(run, "the plan")
        bench.executor.checkpoint(run, "the plan")
        status = bench.end(run)
        assert (status.exit_code, status.ended_by, bench.file("saved")) == (85, EndedBy.CHECKPOINT, "saved\n")
        assert status.detail == "asked to checkpoint by the plan"

    def test_a_run_that_was_asked_to_checkpoint_says_so_until_it_ends(self, bench: Bench) -> None:
        run = bench.start("sh", "-c", f"trap 'while [ ! -e go ]; do sleep 0.02; done; exit 85' USR1; {IDLES}")
        bench.file("ready")
        bench.executor.checkpoint(run, "the plan")
        assert bench.executor.poll(run).is_checkpointing
        (bench.workdir / "go").touch()
        assert (bench.end(run).exit_code, bench.executor.poll(run).is_checkpointing) == (85, False)

    def test_the_checkpoint_signal_is_the_jobs_own(self, bench: Bench) -> None:
        run = bench.start("sh", "-c", f"trap 'exit 9' USR2; {IDLES}", checkpoint_signal="USR2")
        bench.file("ready")
        bench.executor.checkpoint(run, "the plan")
        assert bench.end(run).exit_code == 9

    def test_a_checkpoint_that_takes_too_long_is_ended_by_term_and_then_by_kill(self, bench: Bench) -> None:
        graces = {"grace": timedelta(seconds=0.3)}
        run = bench.start("sh", "-c", f"trap '' USR1; {IDLES}", **graces)
        stubborn = bench.start("sh", "-c", f"trap '' USR1 TERM; {IDLES.replace('ready', 'ready2')}", **graces)
        bench.file("ready")
        bench.file("ready2")
        bench.executor.checkpoint(run, "the plan")
        bench.executor.checkpoint(stubborn, "the plan")
        ends = [bench.end(run), bench.end(stubborn)]
        assert [(end.exit_code, end.ended_by) for end in ends] == [
            (128 + 15, EndedBy.CHECKPOINT_GRACE),
            (128 + 9, EndedBy.CHECKPOINT_GRACE),
        ]

    def test_a_stop_overtakes_a_checkpoint_and_a_checkpoint_no_stop(self, bench: Bench) -> None:
        run = bench.start("sh", "-c", f"trap '' USR1; {IDLES}", grace=timedelta(seconds=30))
        saving = bench.start("sh", "-c", f"trap 'sleep 0.5; exit 3' TERM; {IDLES.replace('ready', 'ready2')}")
        bench.file("ready")
        bench.file("ready2")
        bench.executor.checkpoint(run, "the plan")
        bench.executor.stop(run, "bob")
        bench.executor.stop(saving, "bob")
        bench.executor.checkpoint(saving, "the plan")
        ends = [bench.end(run), bench.end(saving)]
        assert [(end.exit_code, end.ended_by, end.detail) for end in ends] == [
            (128 + 15, EndedBy.STOP, "stopped by bob"),
            (3, EndedBy.STOP, "stopped by bob"),
        ]

    def test_a_checkpointed_run_leaves_nothing_behind(self, bench: Bench) -> None:
        left = "sleep 60 & echo $! > plain; setsid sleep 60 & echo $! > detached;"
        run = bench.start("sh", "-c", f"{SAVES} {left} {IDLES}", devices=("GPU-a",))
        bench.file("ready")
        bench.executor.checkpoint(run, "the plan")
        assert bench.end(run).exit_code == 85
        assert not any(alive(int(bench.file(name))) for name in ("plain", "detached"))
        assert bench.executor.held_elsewhere(["GPU-a"]) == {}

    def test_a_run_that_has_ended_cannot_be_checkpointed(self, bench: Bench) -> None:
        run = bench.start("true")
        before = bench.end(run)
        bench.executor.checkpoint(run, "the plan")
        assert bench.executor.poll(run) == before

    def test_the_checkpoint_folder_is_kept_over_the_runs_of_a_job(self, bench: Bench) -> None:
        script = 'echo once >> "$GREENRUN_CHECKPOINT_DIR/state"; echo "$GREENRUN_CHECKPOINT_DIR"'
        run, job = bench.make("sh", "-c", script)
        again = replace(run, id=run.id + 10_000, number=2, token="another")
        for each in (run, again):
            bench.executor.start(each, job)
            bench.end(each)
        checkpoints = Path(Path(bench.end(again).log or "").read_text().strip())
        assert (checkpoints / "state").read_text() == "once\nonce\n"
        assert stat.S_IMODE(checkpoints.stat().st_mode) == 0o700
