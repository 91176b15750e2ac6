"""A store is made contig by contig: shared out, interrupted or not, what comes out is the same."""

import json
from pathlib import Path

import numpy as np
import pytest

from gatescope.data import encode as module
from gatescope.data.encode import encode
from gatescope.errors import InputError

TRACKS = {"zeta": "{}:zero", "alpha": "{}"}


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def run(inputs, output, **changes):
    settings = {
        "folds": inputs.folds,
        "exclusion_list": inputs.exclusion_list,
        "tracks": {name: path.format(inputs.track) for name, path in TRACKS.items()},
        "window_bp": 256,
        **changes,
    }
    encode(inputs.genome, inputs.cuts, inputs.peaks, output, **settings)
    return contents(output) if Path(output).exists() else None


@pytest.fixture
def inputs(tiny_inputs):
    """A gap where nothing is scored: its count must survive the sharing out."""
    tiny_inputs.track_values["chr1"][9_000:9_100] = np.nan
    tiny_inputs.write()
    return tiny_inputs


@pytest.fixture
def read(monkeypatch):
    """Return the list of contigs that are really read."""
    names, right = [], module._read_contig

    def spy(land, counts, sources, contig):
        names.append(contig)
        return right(land, counts, sources, contig)

    monkeypatch.setattr(module, "_read_contig", spy)
    return names


def test_shared_out_or_not_the_bytes_are_the_same(inputs, tmp_path, read):
    whole = run(inputs, tmp_path / "whole")
    assert json.loads(whole["meta.json"])["filters"][-1]["dropped"] == 100
    read.clear()
    for number in (2, 1, 3):
        assert run(inputs, tmp_path / "shared", piece=f"{number}-of-3") is None
    assert sorted(read) == sorted(inputs.lengths)
    assert run(inputs, tmp_path / "shared") == whole
    assert sorted(read) == sorted(inputs.lengths), "nothing was read again"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["inputs", "shared", "whole"]


def test_windows_may_be_chosen_anew_from_the_same_parts(inputs, tmp_path, read):
    """What decides the windows alone, seed or ratio, does not make a part foreign."""
    for piece in ("1-of-2", "2-of-2"):
        run(inputs, tmp_path / "shared", piece=piece)
    read.clear()
    shared = run(inputs, tmp_path / "shared", seed=5, background_ratio=0.5)
    assert read == []
    assert shared == run(inputs, tmp_path / "whole", seed=5, background_ratio=0.5)


def test_an_interrupted_encode_goes_on_from_the_finished_pieces(inputs, tmp_path, read, monkeypatch):
    whole = run(inputs, tmp_path / "whole")
    run(inputs, tmp_path / "broken", piece="1-of-2")
    done = list(read[len(inputs.lengths) :])
    right = module._read_contig

    def dies(land, counts, sources, contig):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_read_contig", dies)
        for piece in ("2-of-2", "1-of-1"):
            with pytest.raises(KeyboardInterrupt):
                run(inputs, tmp_path / "broken", piece=piece)
    assert module._read_contig is right and not (tmp_path / "broken").exists()
    read.clear()
    run(inputs, tmp_path / "broken", piece="1-of-2")
    assert read == [], "a finished piece is not made again"
    assert run(inputs, tmp_path / "broken") == whole
    assert sorted(read) == sorted(set(inputs.lengths) - set(done))


@pytest.mark.parametrize(
    "change", ["cuts", "peaks", "tracks", "exclude", "version", "an array", "a size", "text"]
)
def test_a_part_of_something_else_is_never_taken(inputs, tmp_path, read, monkeypatch, change):
    run(inputs, tmp_path / "out", piece="1-of-2")
    (folder,) = tmp_path.glob("out.parts.*")
    changes = {}
    if change == "cuts":
        inputs.cut_counts["chr1"][100] += 1
        inputs.write()
    elif change == "peaks":
        inputs.peak_rows.pop()
        inputs.write()
    elif change == "tracks":  # the same names in another order
        changes["tracks"] = {name: TRACKS[name].format(inputs.track) for name in reversed(TRACKS)}
    elif change == "exclude":
        changes["exclude_contigs"] = ["chr2"]
    elif change == "version":
        monkeypatch.setitem(module.STAGE_VERSIONS, "encode", 99)
    elif change == "an array":
        for path in folder.glob("*/codes.npy"):
            path.write_bytes(path.read_bytes()[:-1] + b"\4")
    elif change == "a size":
        for path in folder.glob("*/track.cuts.npy"):
            path.write_bytes(path.read_bytes()[:-4])
    else:
        for path in folder.glob("*/part.json"):
            path.write_text("{")
    read.clear()
    found = run(inputs, tmp_path / "out", **changes)
    assert sorted(read) == sorted(set(inputs.lengths) - set(changes.get("exclude_contigs", ())))
    assert found == run(inputs, tmp_path / "straight", **changes)
    assert folder.exists() == (change in ("cuts", "peaks", "tracks", "exclude", "version")), (
        "not ours to remove"
    )


def test_a_part_under_the_wrong_name_is_not_taken(inputs, tmp_path, read):
    """Its name is a hash of what it is made from; what it says itself counts."""
    run(inputs, tmp_path / "out", piece="1-of-2")
    (folder,) = tmp_path.glob("out.parts.*")
    mine = {path.name: path for path in folder.glob("*/part.json")}
    for path in mine.values():
        content = json.loads(path.read_text())
        content["made_from"]["inputs"]["cuts"] = "0" * 64
        path.write_text(json.dumps(content))
    read.clear()
    run(inputs, tmp_path / "out")
    assert sorted(read) == sorted(inputs.lengths)


@pytest.mark.parametrize("piece", ["0-of-2", "3-of-2", "half", "1/2"])
def test_impossible_pieces_are_refused(inputs, tmp_path, piece):
    with pytest.raises(InputError, match=r"encode: --piece: piece .* wanted such as 2-of-8"):
        run(inputs, tmp_path / "out", piece=piece)
    assert not list(tmp_path.glob("out*"))


def test_more_pieces_than_contigs_leave_some_empty(inputs, tmp_path, read):
    run(inputs, tmp_path / "out", piece="9-of-9")
    assert read == [] and not list(tmp_path.glob("out*"))


def change_cuts(inputs, store):
    inputs.cut_counts["chr1"][100] += 1
    inputs.write()


def change_array(inputs, store):
    content = (store / "state.npy").read_bytes()
    (store / "state.npy").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    ("spoil", "changes", "words"),
    [
        (change_cuts, {}, "was encoded from other inputs: cuts has changed"),
        (None, {"exclusion_list": None}, "other inputs: exclusion list is not given now"),
        (None, {"tracks": {"new": "{}:zero"}}, "other inputs: track new was not given then"),
        (change_array, {}, r"state\.npy: its content has SHA-256 .* it was changed"),
    ],
)
def test_a_store_whose_inputs_or_arrays_changed_is_refused(inputs, tmp_path, caplog, spoil, changes, words):
    before = run(inputs, tmp_path / "store")
    with caplog.at_level("INFO", "gatescope"):
        assert run(inputs, tmp_path / "store", check=True) == before
    assert "was encoded from these files, and is as it was written" in caplog.text
    if spoil:
        spoil(inputs, tmp_path / "store")
    if "tracks" in changes:
        changes = {"tracks": {name: path.format(inputs.track) for name, path in changes["tracks"].items()}}
    kept = contents(tmp_path / "store")
    with pytest.raises(InputError, match=words):
        run(inputs, tmp_path / "store", check=True, **changes)
    assert contents(tmp_path / "store") == kept
