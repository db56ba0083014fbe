from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from engine_rig import Rig, commands, gate, shell

from buildkit.engine import process as process_module
from buildkit.engine.job import Command, CommandJob, JobStatus, PythonJob
from buildkit.engine.process import ProcessExecutor, judge
from buildkit.engine.procfs import own_peak_rss_bytes
from buildkit.engine.served_commands import ServedCommands

LINUX = sys.platform.startswith("linux")


@pytest.fixture(
    params=["direct", pytest.param("served", marks=pytest.mark.skipif(not LINUX, reason="Linux"))]
)
def rig(request):
    """Commands are started by this process, or by a server: nobody may see a difference."""
    with Rig(lambda loop: executor(loop, request)) as made:
        yield made


@pytest.fixture
def direct_rig():
    """For what can only be seen from within the process that starts the commands."""
    with Rig(ProcessExecutor) as made:
        yield made


def executor(loop, request):
    direct = ProcessExecutor(loop)
    if request.param == "direct":
        return direct
    return ServedCommands(loop, direct=direct, width=2, continue_=True, grace_s=2.0, few=0)


def direct(*argv: str, **options: object) -> CommandJob:
    return CommandJob((Command(" ".join(argv), argv, **options),))  # type: ignore[arg-type]


def test_a_command_that_succeeds_says_what_it_wrote(rig) -> None:
    outcome = rig.run(commands("echo out; echo err >&2"))
    assert (outcome.status, outcome.exit_code, outcome.message) == (JobStatus.OK, 0, "")
    assert (outcome.outs, outcome.errs) == (["out\n"], ["err\n"])
    assert outcome.result == "out\nerr\n"
    assert sorted(outcome.log.frames()) == [(1, b"out\n"), (2, b"err\n")]
    assert sorted(rig.live[1].split()) == [b"err", b"out"]


def test_commands_run_in_order_and_stop_at_the_first_failure(rig, tmp_path) -> None:
    outcome = rig.run(commands("echo 1", "echo 2; exit 3", f"touch {tmp_path}/ran"))
    assert (outcome.status, outcome.exit_code, outcome.failed_action) == (JobStatus.FAILED, 3, 1)
    assert outcome.message == "Command failed: 'echo 2; exit 3' returned 3"
    assert outcome.outs == ["1\n", "2\n"]
    assert os.listdir(tmp_path) == []


def test_a_job_without_commands_succeeds(rig) -> None:
    assert rig.run(CommandJob(())).status is JobStatus.OK


@pytest.mark.parametrize(
    ("script", "status", "message"),
    [
        ("exit 125", JobStatus.FAILED, "Command failed: 'exit 125' returned 125"),
        ("exit 126", JobStatus.ERROR, "Command error: 'exit 126' returned 126"),
        (
            "exit 137",
            JobStatus.ERROR,
            "Command error: 'exit 137' returned 137 (128 + SIGKILL; perhaps out of memory)",
        ),
        ("exit 255", JobStatus.ERROR, "Command error: 'exit 255' returned 255"),
        ("kill -SEGV $$", JobStatus.SIGNALLED, "Command failed: 'kill -SEGV $$' was ended by SIGSEGV"),
        (
            "kill -9 $$",
            JobStatus.SIGNALLED,
            "Command failed: 'kill -9 $$' was ended by SIGKILL; perhaps out of memory",
        ),
    ],
)
def test_exit_codes_and_signals_are_told_apart(rig, script: str, status: JobStatus, message: str) -> None:
    outcome = rig.run(commands(script))
    assert (outcome.status, outcome.message) == (status, message)


def test_a_signal_without_a_name_has_its_number() -> None:
    assert judge("x", 40)[3] == "Command failed: 'x' was ended by signal 40"


def test_a_signalled_command_has_no_exit_code(rig) -> None:
    outcome = rig.run(commands("kill -TERM $$"))
    assert (outcome.exit_code, outcome.signal) == (None, 15)


def test_save_out_makes_stdout_a_value(rig) -> None:
    job = CommandJob(
        (shell("printf a", save_out="first"), shell("printf b; printf c >&2", save_out="second"))
    )
    assert rig.run(job).values == {"first": "a", "second": "b"}


def test_save_out_of_a_failed_command_is_no_value(rig) -> None:
    assert rig.run(CommandJob((shell("echo a; exit 1", save_out="x"),))).values == {}


def test_too_much_for_save_out_is_an_error_and_not_a_cut_value(rig, monkeypatch) -> None:
    monkeypatch.setattr(process_module, "SAVE_OUT_BYTES", 10)
    outcome = rig.run(CommandJob((shell("echo 0123456789", save_out="x"),)))
    assert (outcome.status, outcome.values) == (JobStatus.ERROR, {})
    assert outcome.message == (
        "Command error: save_out: 'echo 0123456789' wrote 11 bytes; at most 10 can be saved as a value"
    )


def test_output_is_decoded_as_asked(rig) -> None:
    job = direct("/usr/bin/printf", "\\344", encoding="latin-1")
    assert rig.run(job).outs == ["ä"]
    assert rig.run(direct("/usr/bin/printf", "\\344")).outs == ["\ufffd"]


def test_output_that_cannot_be_decoded_as_asked_is_an_error(rig) -> None:
    strict = rig.run(direct("/usr/bin/printf", "\\344", decode_errors="strict"))
    assert strict.status is JobStatus.ERROR
    assert strict.message.startswith("Command error: the output of '/usr/bin/printf \\344': 'utf-8' codec")
    unknown = rig.run(direct("/bin/echo", "x", encoding="klingon"))
    assert unknown.message == "Command error: the output of '/bin/echo x': unknown encoding: klingon"


def test_a_result_that_is_too_long_is_its_digest(rig) -> None:
    one = rig.run(commands("head -c 2000000 /dev/zero"))
    other = rig.run(commands("head -c 2000001 /dev/zero"))
    again = rig.run(commands("head -c 2000000 /dev/zero"))
    assert one.result == again.result != other.result
    assert str(one.result).startswith("[buildkit: 2000000 bytes of output, xxh3 ")
    assert one.outs[0] is not None
    assert one.outs[0].endswith("\n[buildkit: 951424 bytes of output left out]\n")


def test_uncaptured_output_goes_to_our_own_stdout(rig, capfd) -> None:
    outcome = rig.run(CommandJob((shell("echo seen", capture=False), shell("echo unseen", capture=None))))
    assert capfd.readouterr().out == "seen\n"
    assert (outcome.outs, outcome.result) == ([None, None], None)


def test_the_environment_is_ours_or_the_given_one(rig, monkeypatch) -> None:
    monkeypatch.setenv("FROM_US", "yes")
    assert rig.run(commands("echo $FROM_US")).outs == ["yes\n"]
    assert rig.run(commands("echo $FROM_US$OTHER", env={"OTHER": "other"})).outs == ["other\n"]
    monkeypatch.setenv("FROM_US", "changed")
    assert rig.run(commands("echo $FROM_US")).outs == ["changed\n"]


def test_a_command_runs_in_its_directory(rig, tmp_path) -> None:
    assert rig.run(direct("pwd", cwd=str(tmp_path))).outs == [f"{tmp_path}\n"]


def test_stdin_is_empty(rig) -> None:
    assert rig.run(commands("cat; echo end")).outs == ["end\n"]


@pytest.mark.parametrize("cwd", [None, "."])
def test_signals_that_python_ignores_have_their_default_in_a_command(rig, cwd: str | None) -> None:
    # `yes` ends by SIGPIPE; if that were ignored it would complain on stderr
    outcome = rig.run(commands("yes | head -n 1", cwd=cwd))
    assert (outcome.outs, outcome.errs) == (["y\n"], [""])


@pytest.mark.parametrize("cwd", [None, "."])
def test_a_command_inherits_none_of_our_descriptors(rig, cwd: str | None) -> None:
    listing = ("/bin/ls", "/dev/fd/")
    meant_to_be_inherited = subprocess.check_output(listing, text=True, close_fds=False)
    assert rig.run(direct(*listing, cwd=cwd)).outs == [meant_to_be_inherited]


# --- what cannot be started


def test_an_unknown_program_is_not_found_as_in_a_shell(rig) -> None:
    outcome = rig.run(direct("no-such-program", "x"))
    assert (outcome.status, outcome.exit_code, outcome.failed_action) == (JobStatus.ERROR, 127, 0)
    assert outcome.message == (
        "Command error: 'no-such-program x' could not be started: no-such-program: not found (exit code 127)"
    )


def made(path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("in_folder", [False, True])
def test_why_a_program_cannot_be_started(rig, tmp_path, in_folder: bool) -> None:
    options = {"cwd": str(tmp_path)} if in_folder else {}
    (tmp_path / "dangling").symlink_to("nowhere")
    cases = {
        made(tmp_path / "plain", "echo", 0o644): (126, "permission denied"),
        str(tmp_path): (126, "is a directory"),
        made(tmp_path / "lost", "#!/no/such/interpreter\n"): (
            126,
            "the interpreter that its first line names does not exist",
        ),
        made(tmp_path / "binary", "\x7fNOT\0ELF"): (126, "not a program of this system"),
        str(tmp_path / "plain/below"): (127, "not found"),
        str(tmp_path / "dangling"): (127, "a symbolic link that leads nowhere"),
    }
    for program, (code, why) in cases.items():
        outcome = rig.run(direct(program, **options))
        assert outcome.exit_code == code
        assert outcome.message.endswith(f"could not be started: {program}: {why} (exit code {code})")


def test_a_script_without_a_first_line_is_run_by_the_shell(rig, tmp_path) -> None:
    script = made(tmp_path / "script", "echo $1 from $0")
    assert rig.run(direct(script, "hello")).outs == [f"hello from {script}\n"]
    assert rig.run(direct("./script", "hi", cwd=str(tmp_path))).outs == ["hi from ./script\n"]


def test_a_program_is_looked_up_in_the_commands_own_path(rig, tmp_path) -> None:
    made(tmp_path / "tool", "#!/bin/sh\necho mine\n")
    assert rig.run(direct("tool", env={"PATH": str(tmp_path)})).outs == ["mine\n"]
    assert rig.run(direct("ls", env={"PATH": str(tmp_path)})).exit_code == 127


def test_a_missing_directory_is_named(rig, tmp_path) -> None:
    outcome = rig.run(direct("true", cwd=str(tmp_path / "gone")))
    assert f"its directory '{tmp_path}/gone' does not exist" in outcome.message


def test_an_empty_command_and_a_nul_byte_are_errors_of_the_task(rig) -> None:
    assert "the command is empty" in rig.run(CommandJob((Command("", ()),))).message
    assert "cannot be passed to the system" in rig.run(direct("echo", "a\0b")).message


def test_arguments_that_are_too_long_are_called_so(rig) -> None:
    outcome = rig.run(CommandJob((Command("echo x…", ("/bin/echo", "x" * 200_000)),)))
    assert outcome.exit_code == 126
    assert "/bin/echo: its arguments are too long for the system (200,011 bytes)" in outcome.message


def test_done_is_never_called_from_within_start(rig) -> None:
    told: list[int] = []
    rig.executor.start(99, direct("no-such-program"), None, lambda job_id, _: told.append(job_id))
    assert told == []
    rig.until(lambda: told == [99])


def test_only_commands_are_accepted(rig) -> None:
    with pytest.raises(TypeError, match="runs commands, not PythonJob"):
        rig.executor.start(1, PythonJob(None), None, lambda *_: None)


# --- time and order


def test_a_command_that_closes_its_output_early_is_waited_for(direct_rig, tmp_path) -> None:
    with gate(tmp_path) as (path, open_gate):
        job = direct_rig.start(commands(f"exec >&- 2>&-; read x < {path}; exit 5"))
        direct_rig.until(lambda: not direct_rig.executor._running[job].fds)
        open_gate()
        assert direct_rig.wait(job).exit_code == 5


def test_a_background_process_that_holds_the_output_does_not_hold_the_task(rig, tmp_path) -> None:
    with gate(tmp_path) as (path, open_gate):
        # The background process writes after the task has ended, and says so when that went well.
        job = rig.start(
            commands(f"(read x < {path}; echo late && echo survived > {tmp_path}/proof) & echo started")
        )
        outcome = rig.wait(job)
        assert (outcome.status, outcome.outs) == (JobStatus.OK, ["started\n"])
        open_gate()
        rig.until((tmp_path / "proof").exists)


def test_jobs_run_side_by_side(rig, tmp_path) -> None:
    with gate(tmp_path, "one") as (one, open_one), gate(tmp_path, "two") as (two, open_two):
        first = rig.start(commands(f"read x < {one}"))
        second = rig.start(commands(f"read x < {two}"))
        open_two()
        rig.wait(second)
        open_one()
        rig.wait(first)
    assert rig.order == [second, first]


def test_a_job_may_start_another_from_its_done(rig) -> None:
    rig.start(commands("true"))
    rig.until(lambda: 1 in rig.outcomes)
    depth = 50
    left = [depth]

    def done(job_id: int, _outcome: object) -> None:
        left[0] -= 1
        if left[0]:
            rig.executor.start(job_id + 1, commands("true"), None, done)

    rig.executor.start(1000, commands("true"), None, done)
    rig.until(lambda: not left[0])


# --- what it cost


def test_cpu_time_and_block_output_are_those_of_the_child(rig, tmp_path) -> None:
    busy = rig.run(
        CommandJob((Command("spin", (sys.executable, "-S", "-c", "for _ in range(3000000): pass")),))
    )
    assert busy.cost.user_ns is not None
    assert 5_000_000 < busy.cost.user_ns < busy.cost.wall_ns * 2
    assert busy.ended_ns - busy.started_ns == busy.cost.wall_ns


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sampled from /proc")
def test_peak_memory_is_that_of_the_child_and_not_ours(direct_rig, tmp_path) -> None:
    with gate(tmp_path) as (path, open_gate):
        # Small, but alive until it was looked at; we ourselves are far larger than `sh`.
        job = direct_rig.start(commands(f"read x < {path}"))
        direct_rig.until(lambda: direct_rig.executor._running[job].outcome.cost.rss_bytes is not None)
        open_gate()
        small = direct_rig.wait(job).cost.rss_bytes
    size = 2 * own_peak_rss_bytes()  # below our own, the kernel's figure would be ours
    program = f"x = bytearray({size})"
    job = CommandJob((Command("large", (sys.executable, "-S", "-c", program)),))
    large = direct_rig.run(job).cost.rss_bytes
    assert small is not None
    assert large is not None
    assert small < 8_000_000 < size < large < size + 40_000_000


def test_peak_memory_that_nobody_saw_is_unknown_and_not_zero(rig) -> None:
    outcome = rig.run(direct(shutil.which("true") or "true"))
    if outcome.cost.wall_ns < 15_000_000:  # on a loaded machine it may live long enough to be sampled
        assert outcome.cost.rss_bytes is None
