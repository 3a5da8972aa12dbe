"""Globs against a reading of two lines, and tables of them against asking one by one."""

from hypothesis import example, given
from hypothesis import strategies as st

from pdp.policy.glob import GlobTable, matcher_of
from tests.property.policy.reference import glob_matches

SHORT = st.text("ab*?.[\n", max_size=6)
NAME = st.text("ab.[\n", max_size=6)


@given(SHORT, NAME)
@example("*a?*a*", "aaa")
@example("a*a", "a")
@example("?*?", "a")
def test_a_glob_matches_what_the_reference_matches(glob: str, name: str) -> None:
    assert bool(matcher_of(glob)(name)) is glob_matches(glob, name)


@given(st.text(st.characters(exclude_characters="*?"), max_size=8), st.text(max_size=8))
def test_all_but_star_and_question_mark_is_literal(glob: str, name: str) -> None:
    assert matcher_of(glob)(glob)
    assert bool(matcher_of(glob)(name)) is (glob == name)


@given(st.lists(SHORT, max_size=8), NAME)
def test_a_table_finds_every_glob_that_matches(globs: list[str], name: str) -> None:
    table = GlobTable((glob, place) for place, glob in enumerate(globs))
    expected = [place for place, glob in enumerate(globs) if glob_matches(glob, name)]
    assert sorted(table.find(name)) == expected
    assert table.has(name) is bool(expected)
