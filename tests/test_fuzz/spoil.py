"""Good files spoilt in every way that hypothesis thinks of, and what may come of them: the content, or one message."""

import contextlib
import re
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatescope.errors import InputError

#: What hurts parsers: ends of lines, signs, other notations of numbers, other alphabets, empty fields.
TOKENS = [
    *(
        b"\t",
        b"\n",
        b"\r",
        b"\r\n",
        b"\0",
        b" ",
        b"",
        b"#",
        b"track ",
        b'"',
        b"'",
        b".",
        b"+",
        b"-",
        b">",
        b",",
        b"=",
    ),
    *(
        b"-1",
        b"0",
        b"1e3",
        b"1.5",
        b"nan",
        b"inf",
        b"9" * 20,
        b"0x10",
        b"1_0",
        b" 5",
        b"NA",
        b"chr1",
        b"chr2",
    ),
    *(
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xd9\xa1",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\x1c",
        b"\x1f\x8b",
        b"{",
        b"[",
        b"null",
    ),
]
PLACE = st.floats(0, 1, exclude_max=True)
CHANGE = st.one_of(
    st.tuples(st.just("field"), PLACE, st.sampled_from(TOKENS)),
    st.tuples(st.just("insert"), PLACE, st.sampled_from(TOKENS) | st.binary(min_size=1, max_size=4)),
    st.tuples(st.just("byte"), PLACE, st.binary(min_size=1, max_size=1)),
    st.tuples(st.just("flip"), PLACE, st.sampled_from([bytes([1 << bit]) for bit in range(8)])),
    st.tuples(st.just("number"), PLACE, st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f"])),
    st.tuples(st.just("cut out"), PLACE, st.sampled_from([b"x", b"x" * 3, b"x" * 40])),
    st.tuples(st.just("repeat"), PLACE, st.just(b"")),
    st.tuples(st.just("cut off"), PLACE, st.just(b"")),
)
MILD = st.tuples(st.just("digit"), PLACE, st.sampled_from([b"%d" % digit for digit in range(10)]))
CHANGES = st.lists(MILD, min_size=1, max_size=2) | st.lists(CHANGE | MILD, min_size=1, max_size=3)
#: Few examples, always the same, among the other tests; many in `make acceptance`.
AMOUNTS = pytest.mark.parametrize("examples", [15, pytest.param(500, marks=pytest.mark.acceptance)])


def spoil(content: bytes, changes) -> bytes:
    """Apply changes, one after the other."""
    for kind, place, what in changes:
        at = int(place * len(content))
        if kind == "field":
            content = _replace_field(content, at, what)
        elif kind == "digit":
            content = content[:at] + re.sub(rb"\d", what, content[at:], count=1)
        elif kind == "insert":
            content = content[:at] + what + content[at:]
        elif kind == "flip" and content:
            content = content[:at] + bytes([content[at] ^ what[0]]) + content[at + 1 :]
        elif kind in ("byte", "number"):
            content = content[:at] + what + content[at + len(what) :]
        elif kind == "cut out":
            content = content[:at] + content[at + len(what) :]
        elif kind == "repeat":
            content = content[:at] + content[max(0, at - 30) :]
        else:
            content = content[:at]
    return content


def _replace_field(content: bytes, at: int, what: bytes) -> bytes:
    """Replace the field of a table around a position."""
    begin = max(content.rfind(b"\t", 0, at), content.rfind(b"\n", 0, at)) + 1
    ends = [end for end in (content.find(b"\t", at), content.find(b"\n", at)) if end >= 0]
    return content[:begin] + what + content[min(ends, default=len(content)) :]


def fuzz(check: Callable[[bytes], None], good: bytes, examples: int, *, is_hashed: bool = False) -> None:
    """Call `check` with spoilt content; an `InputError` is one good outcome, an equal result the other.

    Anything else, warnings included, fails. Of a file that is known by its hash, no change is ever read.
    """
    read = []

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(CHANGES)
    def run(changes):
        with contextlib.suppress(InputError):
            check(spoil(good, changes))
            read.append(changes)

    check(good)  # it is good
    run()
    assert read or is_hashed or examples < 100, "nothing was ever read: the property says nothing"
