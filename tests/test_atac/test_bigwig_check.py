"""Damaged bigWigs are told before a library reads them: none crashes, none gives other values or silent zeros."""

import os
import random
import struct
import zlib

import numpy as np
import pyBigWig
import pytest

from gatescope.atac.bigwig import BigWigWriter, check_bigwig_contigs, read_bigwig
from gatescope.atac.bigwig_check import refuse_damaged_bigwig
from gatescope.errors import InputError
from tiny_data import write_bigwig

LENGTHS = {"chr2": 3000, "chr10": 2000, "chr1": 2500}


def values(seed=0):
    rng = np.random.default_rng(seed)
    counts = {name: rng.poisson(0.2, length).astype(np.float32) for name, length in LENGTHS.items()}
    return {name: np.where(array > 0, array, np.nan) for name, array in counts.items()}


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.bw"
    write_bigwig(path, LENGTHS, values())
    return path


def test_what_writers_write_is_whole(tmp_path, good):
    """Fixed steps, variable steps, intervals, many blocks, many contigs, nothing."""
    refuse_damaged_bigwig(good)
    many = {f"c{n}": 100 for n in range(700)}
    with BigWigWriter(tmp_path / "many.bw", many) as writer:
        for name in many:
            writer.add(name, 3, np.arange(50.0))
    with pyBigWig.open(str(tmp_path / "mixed.bw"), "w") as file:
        file.addHeader([("a", 500_000), ("b", 900)], maxZooms=3)
        file.addEntries(["a"] * 9_000, list(range(0, 90_000, 10)), list(range(5, 90_005, 10)), [1.5] * 9_000)
        file.addEntries("a", list(range(100_000, 130_000, 3)), values=[2.0] * 10_000, span=2)
        file.addEntries("b", 10, values=[3.0, 4.0], span=7, step=8)
    with pyBigWig.open(str(tmp_path / "empty.bw"), "w") as file:
        file.addHeader([("a", 500)])
    for name in ("many.bw", "mixed.bw", "empty.bw"):
        refuse_damaged_bigwig(tmp_path / name)
    refuse_damaged_bigwig(tmp_path / "none.bw")


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Flip bits, set bytes, cut out, insert, or write extreme numbers; often where the header is."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(changed) if rng.random() < 0.6 else min(len(changed), 900))
        operation = rng.randrange(5)
        if operation == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif operation == 1:
            changed[at] = rng.randrange(256)
        elif operation == 2:
            del changed[at : at + rng.choice([1, 4, 100])]
        elif operation == 3:
            changed[at:at] = rng.randbytes(rng.choice([1, 4, 50]))
        else:
            changed[at : at + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f"])
    return bytes(changed)


def refused_or_equal(path, expected) -> int:
    """Read a file in a process of its own, which a library may crash: 0 equal, 2 refused, anything else is a defect."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        check_bigwig_contigs(path, LENGTHS, "genome.fa")
        found = {name: read_bigwig(path, name) for name in LENGTHS}
        is_equal = all(np.array_equal(found[name], expected[name], equal_nan=True) for name in LENGTHS)
        status = 0 if is_equal else 3
    except InputError:
        status = 2
    finally:
        os._exit(status)


def fuzz(tmp_path, good, numbers):
    content, expected = good.read_bytes(), values()
    statuses = []
    for number in numbers:
        path = tmp_path / f"{number}.bw"
        path.write_bytes(mutate(content, random.Random(number)))
        statuses.append(refused_or_equal(path, expected))
        assert statuses[-1] in (0, 2), f"mutation {number}: exit status {statuses[-1]}"
        path.unlink()
    assert 2 * statuses.count(2) > len(statuses), "most mutations hurt"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_mutated_file_is_refused_or_read_as_it_was(tmp_path, good):
    fuzz(tmp_path, good, range(40))


@pytest.mark.acceptance
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_many_mutated_files(tmp_path, good):
    fuzz(tmp_path, good, range(2_000))


def rebuilt(good, change):
    """Unpack the first block, change its fields, and pack it again so that its checksum is right."""
    content = bytearray(good.read_bytes())
    index = struct.unpack_from("<Q", content, 24)[0]
    leaf = index + 52
    offset, size = struct.unpack_from("<QQ", content, leaf + 16)
    data = bytearray(zlib.decompress(bytes(content[offset : offset + size])))
    change(data)
    packed = zlib.compress(bytes(data))
    struct.pack_into("<QQ", content, leaf + 16, len(content), len(packed))
    good.write_bytes(bytes(content) + packed)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: None, ""),
        (lambda data: struct.pack_into("<I", data, 0, 77), "unknown content"),
        (lambda data: data.__setitem__(20, 9), "unknown content"),
        (lambda data: struct.pack_into("<H", data, 22, 60_000), "cut off"),
        (lambda data: struct.pack_into("<H", data, 22, 1), "bases with data, its summary says"),
        (lambda data: struct.pack_into("<I", data, 4, 2_990), "behind the end|outside the stretch"),
        (lambda data: struct.pack_into("<I", data, 16, 0), "overlap"),
        (lambda data: data.__delitem__(slice(20, None)), "cut off"),
    ],
)
def test_damage_that_no_checksum_tells(tmp_path, change, words):
    path = tmp_path / "dense.bw"
    write_bigwig(path, {"chr2": 3000}, {"chr2": np.arange(3000.0)})
    rebuilt(path, change)
    if not words:
        refuse_damaged_bigwig(path)
        return
    with pytest.raises(InputError, match=f"dense.bw: cannot be read as bigWig: it is damaged .*({words})"):
        refuse_damaged_bigwig(path)


@pytest.mark.parametrize(
    ("at", "number", "words"),
    [
        ("index", 0, "no index"),
        ("tree", 0, "no list of contigs"),
        ("leaf", 2_000, "parts lie outside|outside the stretch"),
    ],
)
def test_damage_of_the_index(good, at, number, words):
    content = bytearray(good.read_bytes())
    tree, _, index = struct.unpack_from("<QQQ", content, 8)
    struct.pack_into("<I", content, {"index": index, "tree": tree, "leaf": index + 56}[at], number)
    good.write_bytes(content)
    with pytest.raises(InputError, match=words):
        refuse_damaged_bigwig(good)


def test_a_file_that_changes_is_looked_at_again(good):
    refuse_damaged_bigwig(good)
    content = good.read_bytes()
    good.write_bytes(content[:-200] + b"\xff" * 100)
    with pytest.raises(InputError, match="damaged"):
        refuse_damaged_bigwig(good)
