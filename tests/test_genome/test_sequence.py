"""Codes and one-hot columns against loops over the letters."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatescope.genome.sequence import (
    UNKNOWN,
    decode_bases,
    encode_bases,
    gc_fraction,
    one_hot,
    reverse_complement,
)

DNA = st.text(alphabet="ACGTacgtNnRYKM-", max_size=60)
COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}


def codes_by_loop(text: str) -> list[int]:
    return [{"A": 0, "C": 1, "G": 2, "T": 3}.get(letter.upper(), 4) for letter in text]


@given(DNA)
def test_codes_are_those_of_a_loop_over_letters(text):
    codes = encode_bases(text)
    assert codes.dtype == np.uint8
    assert codes.tolist() == codes_by_loop(text)
    assert np.array_equal(encode_bases(text.encode()), codes)


@given(st.binary(max_size=300))
def test_any_byte_has_a_code(raw):
    assert encode_bases(raw).tolist() == codes_by_loop(raw.decode("latin-1"))


def test_letters_beyond_ascii_are_one_unknown_base_each():
    assert encode_bases("AÉ日T").tolist() == [0, UNKNOWN, UNKNOWN, 3]


@given(DNA)
def test_one_hot_is_that_of_a_loop_over_letters(text):
    expected = [[int(letter.upper() == base) for letter in text] for base in "ACGT"]
    columns = one_hot(encode_bases(text))
    assert columns.dtype == np.uint8
    assert columns.shape == (4, len(text))
    assert columns.tolist() == expected


def test_one_hot_of_a_batch_is_the_one_hot_of_each():
    codes = np.random.default_rng(0).integers(0, 5, (2, 3, 17)).astype(np.uint8)
    batch = one_hot(codes)
    assert batch.shape == (2, 3, 4, 17)
    assert batch.flags.c_contiguous
    for index in np.ndindex(2, 3):
        assert np.array_equal(batch[index], one_hot(codes[index]))


@given(DNA)
def test_decoding_gives_the_letters_back(text):
    expected = "".join(letter if letter in "ACGT" else "N" for letter in text.upper())
    assert decode_bases(encode_bases(text)) == expected


@given(DNA)
def test_reverse_complement_is_that_of_the_letters_and_its_own_inverse(text):
    codes = encode_bases(text)
    other = reverse_complement(codes)
    assert decode_bases(other) == "".join(COMPLEMENT[letter] for letter in reversed(decode_bases(codes)))
    assert np.array_equal(reverse_complement(other), codes)
    # ACGT order makes the complement a flip of the channels
    assert np.array_equal(one_hot(other), one_hot(codes)[::-1, ::-1])


def test_reverse_complement_of_a_batch_turns_positions_only():
    codes = np.random.default_rng(1).integers(0, 5, (3, 11)).astype(np.uint8)
    expected = np.stack([reverse_complement(row) for row in codes])
    assert np.array_equal(reverse_complement(codes), expected)


@given(DNA)
def test_gc_fraction_counts_known_bases_only(text):
    known = [letter for letter in text.upper() if letter in "ACGT"]
    result = gc_fraction(encode_bases(text))
    if known:
        assert result == pytest.approx(sum(letter in "GC" for letter in known) / len(known))
    else:
        assert math.isnan(result)
