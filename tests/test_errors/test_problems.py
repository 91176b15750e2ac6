"""Several mistakes at once: each is shown, on one screen, and nothing else is swallowed."""

import pytest

from gatescope.errors import InputError, InputErrors, Problems


def mistakes(n, words=12):
    return [
        InputError(
            f"mistake {number} " + "word " * words,
            where=f"file{number}.bed",
            cause="a cause " * 8,
            remedy="do this",
            command=f"sed 's/^chr//' file{number}.bed > " + "x" * 90,
        )
        for number in range(n)
    ]


def test_one_line_has_every_part():
    error = InputError("what", where="place", cause="why", remedy="help", command="run this")
    assert str(error) == "place: what; likely cause: why; help: run this"
    assert str(InputError("what")) == "what"


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("n", [2, 3, 6, 20])
def test_every_mistake_is_on_one_screen(n, columns):
    shown = InputErrors(mistakes(n)).on_screen(columns, 24)
    lines = shown.splitlines()
    assert lines[0] == f"{n} problems; nothing was written"
    assert sum(-(-len(line) // columns) for line in lines) <= 24
    for number in range(n):
        assert sum(f"file{number}.bed: mistake {number} " in line for line in lines) == 1
    assert ("do this" in shown) == (n <= 6), "with 20 there is room for no remedy"


def test_commands_are_never_broken():
    shown = InputErrors(mistakes(2)).on_screen(60, 99).splitlines()
    for number in range(2):
        assert sum(f"sed 's/^chr//' file{number}.bed > " + "x" * 90 in line for line in shown) == 1


def test_a_small_screen_keeps_every_first_line():
    shown = InputErrors(mistakes(9)).on_screen(80, 3).splitlines()
    assert len(shown) == 10 and all(line.endswith(" ...") for line in shown[1:])
    assert max(map(len, shown)) <= 80


def test_problems_are_raised_together_and_one_as_it_was():
    problems = Problems()
    problems.raise_found()
    first, second, third = mistakes(3)
    with problems.noted():
        raise first
    with pytest.raises(InputError) as caught:
        problems.raise_found()
    assert caught.value is first
    with problems.noted():
        raise InputErrors([second, third])
    with pytest.raises(InputErrors) as caught:
        problems.raise_found()
    assert caught.value.errors == (first, second, third)
    assert all(str(each.parts[0]) in " ".join(str(caught.value).split()) for each in (first, second))


def test_what_is_no_mistake_of_the_user_passes_through():
    problems = Problems()
    with pytest.raises(ValueError, match="a bug"), problems.noted():
        raise ValueError("a bug")
    assert problems.found == []


def test_of_a_long_path_the_name_is_kept():
    errors = [
        InputError("what is wrong " * 9, where="/a/long/path" * 9 + f"/{n}.bed line 7") for n in range(9)
    ]
    for n, line in enumerate(InputErrors(errors).on_screen(80, 3).splitlines()[1:]):
        assert line.startswith(f"  {n + 1}. {n}.bed line 7: what is wrong") and len(line) <= 80
