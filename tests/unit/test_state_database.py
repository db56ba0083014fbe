"""Opening, creating, refusing and replacing a project's database."""

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile

import pytest

from buildkit.core.errors import StateError
from buildkit.core.execution import Decision
from buildkit.state import fresh, schema
from buildkit.state.database import (
    database_path,
    is_damage,
    open_database,
    set_aside_damaged,
    storable,
    telling_damage,
    transaction,
)


def refuse_warning(line):
    raise AssertionError(f"unexpected warning: {line}")


@pytest.fixture
def project(tmp_path):
    return str(tmp_path)


@pytest.fixture
def nobody():
    """Files made meanwhile by root are not writable for this process, as for any other user."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def read_only_project():
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        os.chmod(directory, 0o555)
        yield directory
        os.chmod(directory, 0o755)


def modes(directory):
    return {
        name: stat.S_IMODE(os.stat(os.path.join(directory, name)).st_mode) for name in os.listdir(directory)
    }


def test_the_first_opening_creates_private_files_that_git_ignores(project):
    open_database(project, warn=refuse_warning).close()

    directory = os.path.join(project, ".buildkit")
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    assert modes(directory)["state.db"] == 0o600
    with open(os.path.join(directory, ".gitignore")) as file:
        assert file.read() == "*\n"


def test_a_state_directory_without_its_gitignore_gets_one(project):
    os.mkdir(os.path.join(project, ".buildkit"))
    open_database(project, warn=refuse_warning).close()
    assert os.path.exists(os.path.join(project, ".buildkit", ".gitignore"))


def test_the_log_beside_the_database_is_private_too(project):
    connection = open_database(project, warn=refuse_warning)
    connection.execute("INSERT INTO tasks (name) VALUES ('a')")
    assert modes(os.path.join(project, ".buildkit"))["state.db-wal"] == 0o600
    connection.close()


def test_a_database_is_opened_again_without_sqlite_utils(project):
    open_database(project, warn=refuse_warning).close()

    code = (
        "import sys; from buildkit.state.database import open_database; "
        f"open_database({project!r}, warn=print); print('sqlite_utils' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_what_was_written_is_there_after_opening_again(project):
    with open_database(project, warn=refuse_warning) as connection:
        connection.execute("INSERT INTO tasks (name) VALUES ('a')")
    connection.close()
    again = open_database(project, warn=refuse_warning)
    assert again.execute("SELECT name FROM tasks").fetchall() == [("a",)]
    assert again.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_every_decision_has_a_code_and_plain_sql_can_read_it(project):
    connection = open_database(project, warn=refuse_warning)
    rows = dict(connection.execute("SELECT name, id FROM decisions"))
    assert rows == {decision.value: schema.DECISION_CODES[decision] for decision in Decision}


def test_a_migration_that_fails_leaves_the_database_as_it_was(project, monkeypatch):
    open_database(project, warn=refuse_warning).close()

    def break_off(database):
        database.create_table("half_done", {"id": int})
        raise RuntimeError("killed")

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, break_off))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    with pytest.raises(RuntimeError, match="killed"):
        open_database(project, warn=refuse_warning)

    connection = sqlite3.connect(database_path(project))
    assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION - 1,)
    assert not connection.execute("SELECT name FROM sqlite_master WHERE name = 'half_done'").fetchall()


def add_a_version(monkeypatch):
    def add_column(database):
        database.execute("ALTER TABLE tasks ADD COLUMN colour TEXT DEFAULT 'blue'")

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, add_column))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)


def test_an_older_database_is_migrated_with_its_rows(project, monkeypatch):
    connection = open_database(project, warn=refuse_warning)
    connection.execute("INSERT INTO tasks (name) VALUES ('a')")
    connection.close()
    add_a_version(monkeypatch)

    connection = open_database(project, warn=refuse_warning)
    assert connection.execute("SELECT name, colour FROM tasks").fetchall() == [("a", "blue")]
    assert schema.read_version(connection) == schema.VERSION


def test_reading_an_older_database_leaves_the_file_alone(project, monkeypatch):
    connection = open_database(project, warn=refuse_warning)
    connection.execute("INSERT INTO tasks (name) VALUES ('a')")
    connection.close()
    add_a_version(monkeypatch)

    reader = open_database(project, warn=refuse_warning, read_only=True)

    assert reader.execute("SELECT name, colour FROM tasks").fetchall() == [("a", "blue")]
    on_disk = sqlite3.connect(database_path(project))
    assert schema.read_version(on_disk) == schema.VERSION - 1


def set_version(project, version):
    connection = sqlite3.connect(database_path(project))
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_database_of_a_newer_version_is_refused_and_not_touched(project, read_only):
    open_database(project, warn=refuse_warning).close()
    set_version(project, 99)
    with open(database_path(project), "rb") as file:
        before = file.read()

    with pytest.raises(StateError, match=rf"schema 99; this one knows {schema.VERSION}\b.*[Uu]pgrade"):
        open_database(project, warn=refuse_warning, read_only=read_only)

    with open(database_path(project), "rb") as file:
        assert file.read() == before


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"this is no database\n" * 300, id="other content"),
        pytest.param(lambda content: content[:100] + os.urandom(len(content) - 100), id="random pages"),
        pytest.param(lambda content: content[:2000], id="cut short"),
    ],
)
def test_a_damaged_database_is_set_aside_and_a_new_one_begun(project, damage):
    open_database(project, warn=refuse_warning).close()
    path = database_path(project)
    with open(path, "rb") as file:
        damaged = damage(file.read())
    with open(path, "wb") as file:
        file.write(damaged)
    warnings = []

    connection = open_database(project, warn=warnings.append)

    assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)
    assert len(warnings) == 1
    assert path in warnings[0]
    assert "state.db.damaged-1" in warnings[0]
    with open(f"{path}.damaged-1", "rb") as file:
        assert file.read() == damaged


def test_earlier_damaged_databases_are_kept(project):
    for _ in range(2):
        open_database(project, warn=refuse_warning).close()
        with open(database_path(project), "wb") as file:
            file.write(b"no database" * 100)
        open_database(project, warn=lambda line: None).close()
    names = os.listdir(os.path.join(project, ".buildkit"))
    assert {"state.db.damaged-1", "state.db.damaged-2"} <= set(names)


def test_a_damaged_log_costs_at_most_what_was_in_it(project):
    connection = open_database(project, warn=refuse_warning)
    connection.execute("INSERT INTO tasks (name) VALUES ('kept')")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("INSERT INTO tasks (name) VALUES ('in the log')")
    path = database_path(project)
    with open(path, "rb") as database, open(f"{path}-wal", "rb") as log:
        content, logged = database.read(), bytearray(log.read())
    connection.close()
    logged[40:] = os.urandom(len(logged) - 40)  # as a crash of the machine may leave it
    with open(path, "wb") as database, open(f"{path}-wal", "wb") as log:
        database.write(content)
        log.write(logged)

    again = open_database(project, warn=refuse_warning)

    assert again.execute("SELECT name FROM tasks").fetchall() == [("kept",)]


def test_damage_that_only_shows_in_use_is_recognised_and_replaced(project):
    connection = open_database(project, warn=refuse_warning)
    connection.executemany("INSERT INTO tasks (name) VALUES (?)", [(f"task {i}",) for i in range(5000)])
    connection.close()
    path = database_path(project)
    with open(path, "r+b") as file:  # the first pages hold the schema and stay whole
        size = file.seek(0, 2)
        file.seek(size // 2)
        file.write(b"\xff" * (size - size // 2))
    connection = open_database(project, warn=refuse_warning)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        connection.execute("SELECT max(length(name)) FROM tasks").fetchall()
    assert is_damage(caught.value)
    warnings = []

    connection = set_aside_damaged(project, connection, caught.value, warn=warnings.append)

    assert connection.execute("SELECT count(*) FROM tasks").fetchone() == (0,)
    assert len(warnings) == 1


def test_a_busy_database_is_not_taken_for_a_damaged_one(project):
    writer = open_database(project, warn=refuse_warning)
    other = sqlite3.connect(database_path(project), timeout=0, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as caught:
        other.execute("BEGIN IMMEDIATE")
    assert not is_damage(caught.value)


def test_a_project_that_cannot_be_written_says_so_and_what_to_do(read_only_project, nobody):
    with pytest.raises(StateError) as caught:
        open_database(read_only_project, warn=refuse_warning)
    message = str(caught.value)
    assert os.path.join(read_only_project, ".buildkit") in message
    assert "Permission denied" in message
    assert "BUILDKIT=0" in message
    assert os.listdir(read_only_project) == []


def test_a_database_that_cannot_be_written_says_so():
    with tempfile.TemporaryDirectory(dir="/tmp") as project:
        os.chmod(project, 0o755)
        open_database(project, warn=refuse_warning).close()
        os.chmod(os.path.join(project, ".buildkit"), 0o555)
        os.chmod(database_path(project), 0o444)
        code = (
            "import os, sys\n"
            "from buildkit.core.errors import StateError\n"
            "from buildkit.state.database import open_database\n"
            "if os.geteuid() == 0: os.setuid(65534)\n"
            "try: open_database(sys.argv[1], warn=print)\n"
            "except StateError as error: print(error)\n"
            "print(open_database(sys.argv[1], warn=print, read_only=True).execute('select 7').fetchone())\n"
        )
        output = subprocess.check_output([sys.executable, "-c", code, project], text=True)
        os.chmod(os.path.join(project, ".buildkit"), 0o755)
    first, second = output.splitlines()
    assert "state.db: Permission denied" in first
    assert second == "(7,)"


def test_a_file_in_the_place_of_the_state_directory_is_named(project):
    path = os.path.join(project, ".buildkit")
    with open(path, "w"):
        pass
    with pytest.raises(StateError, match=r"\.buildkit is not a directory"):
        open_database(project, warn=refuse_warning)


def test_reading_where_nothing_was_written_creates_nothing(project):
    assert open_database(project, warn=refuse_warning, read_only=True) is None
    assert os.listdir(project) == []


def test_reading_an_empty_file_says_there_is_nothing_yet(project):
    os.mkdir(os.path.join(project, ".buildkit"))
    with open(database_path(project), "w"):
        pass
    assert open_database(project, warn=refuse_warning, read_only=True) is None


def test_a_reader_cannot_write(project):
    open_database(project, warn=refuse_warning).close()
    reader = open_database(project, warn=refuse_warning, read_only=True)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("INSERT INTO tasks (name) VALUES ('a')")


def test_reading_a_damaged_history_says_so_and_leaves_it(project):
    open_database(project, warn=refuse_warning).close()
    with open(database_path(project), "wb") as file:
        file.write(b"no database" * 100)
    with pytest.raises(StateError, match="damaged"):
        open_database(project, warn=refuse_warning, read_only=True)
    assert os.path.exists(database_path(project))


@pytest.mark.parametrize("name", ["a b", "50%", "what?", "#1", "ü"])
def test_a_project_of_any_name_can_be_read(tmp_path, name):
    project = str(tmp_path / name)
    os.mkdir(project)
    open_database(project, warn=refuse_warning).close()
    assert open_database(project, warn=refuse_warning, read_only=True) is not None


def test_a_transaction_that_fails_writes_nothing_and_the_next_one_works(project):
    connection = open_database(project, warn=refuse_warning)
    with pytest.raises(KeyError), transaction(connection):
        connection.execute("INSERT INTO tasks (name) VALUES ('lost')")
        with transaction(connection):
            connection.execute("INSERT INTO tasks (name) VALUES ('lost too')")
        raise KeyError
    with transaction(connection):
        connection.execute("INSERT INTO tasks (name) VALUES ('kept')")
    assert connection.execute("SELECT name FROM tasks").fetchall() == [("kept",)]


def test_a_name_that_is_not_utf8_can_be_stored(project):
    connection = open_database(project, warn=refuse_warning)
    name = os.fsdecode(b"caf\xe9")
    connection.execute("INSERT INTO tasks (name) VALUES (?)", [storable(name)])
    assert connection.execute("SELECT name FROM tasks").fetchone() == (r"caf\udce9",)
    assert storable("café") == "café"


def test_bytes_that_are_no_text_are_damage():
    connection = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError) as text:
        connection.execute("SELECT CAST(x'ff' AS TEXT)").fetchone()
    assert is_damage(text.value)
    with pytest.raises(sqlite3.DatabaseError) as message, telling_damage():
        b"\xff".decode()
    assert is_damage(message.value)


@pytest.mark.parametrize("stored", [None, 7, 1.5])
def test_a_name_that_is_no_text_is_damage(stored: object):
    from buildkit.state.traces import _name  # only a damaged page brings such a row about

    with pytest.raises(sqlite3.DatabaseError) as error:
        _name(stored)  # type: ignore[arg-type]
    assert is_damage(error.value)


def _shape(connection: sqlite3.Connection) -> dict[str, object]:
    """Return tables with their columns and indexes, however the statements that made them are written."""
    shape: dict[str, object] = {}
    tables = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
    for name, statement in tables:
        columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
        indexes = {
            index: (unique, origin, connection.execute(f"PRAGMA index_info({index})").fetchall())
            for _number, index, unique, origin, _partial in connection.execute(f"PRAGMA index_list({name})")
        }
        shape[name] = (columns, indexes, "WITHOUT ROWID" in statement)
    return shape


def test_a_new_database_has_the_tables_that_all_migrations_together_make(tmp_path, monkeypatch) -> None:
    made, migrated = (sqlite3.connect(":memory:", isolation_level=None) for _ in range(2))
    schema.migrate(made)
    monkeypatch.setattr(fresh, "VERSION", 0)
    schema.migrate(migrated)
    assert _shape(made) == _shape(migrated)
    assert schema.read_version(made) == schema.read_version(migrated) == schema.VERSION
    assert made.execute("SELECT * FROM decisions").fetchall() == (
        migrated.execute("SELECT * FROM decisions").fetchall()
    )


def test_making_a_new_database_does_not_take_sqlite_utils() -> None:
    program = (
        "import sqlite3, sys; from buildkit.state import schema; "
        "schema.migrate(sqlite3.connect(':memory:', isolation_level=None)); "
        "sys.exit('sqlite_utils' in sys.modules)"
    )
    assert subprocess.run((sys.executable, "-c", program), check=False).returncode == 0
