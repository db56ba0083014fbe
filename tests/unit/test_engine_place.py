"""Results that are good in one checkout only."""

from __future__ import annotations

from pathlib import Path

from buildkit.core.key import ActionKey
from buildkit.core.plan import Task
from buildkit.engine.place import is_bound, names_a_place, names_of_place, place_key


def test_the_key_of_a_place_differs_from_that_of_others_and_from_the_plain_one():
    key = ActionKey("xxh3:0")
    assert (
        len({key, place_key(key, "/one"), place_key(key, "/two"), place_key(ActionKey("xxh3:1"), "/one")})
        == 4
    )


def test_a_place_goes_by_the_names_that_links_give_it(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    names = names_of_place(str(tmp_path / "real"), {"PWD": str(tmp_path / "link")})
    assert set(names) == {str(tmp_path / "real").encode(), str(tmp_path / "link").encode()}


def test_a_variable_that_leads_elsewhere_names_nothing(tmp_path: Path):
    (tmp_path / "other").mkdir()
    for value in (str(tmp_path / "other"), str(tmp_path / "missing"), "relative", ""):
        assert names_of_place(str(tmp_path), {"PWD": value}) == (str(tmp_path).encode(),)


def test_a_path_that_occurs_by_chance_names_nothing():
    assert names_of_place("/", {}) == ()


def test_texts_with_names_of_other_encodings_are_searched_too():
    assert names_a_place(("\udcff /home/me/project",), (b"/home/me/project",))
    assert not names_a_place(("nothing",), (b"/home/me/project",))


def test_a_task_without_inputs_is_bound():
    assert is_bound(Task("t"))
    assert not is_bound(Task("t", inputs=("a",)))
