"""Contigs shared out among pieces, and their names as file names."""

from hypothesis import given
from hypothesis import strategies as st

from gatescope.genome.contigs import contig_file_stem, share_of


@given(
    lengths=st.dictionaries(st.text("abc/%", min_size=1, max_size=4), st.integers(1, 1000), max_size=30),
    pieces=st.integers(1, 9),
)
def test_pieces_share_out_all_contigs_about_equally(lengths, pieces):
    shares = [share_of(lengths, f"{n}-of-{pieces}", "--piece") for n in range(1, pieces + 1)]
    assert sorted(contig for share in shares for contig in share) == sorted(lengths)
    assert all(share == [contig for contig in lengths if contig in share] for share in shares), "genome order"
    loads = [sum(lengths[contig] for contig in share) for share in shares]
    assert max(loads) - min(loads) <= max(lengths.values(), default=0)


@given(st.lists(st.text("a/%2F5", min_size=1), unique=True))
def test_file_stems_are_file_names_and_tell_contigs_apart(contigs):
    stems = [contig_file_stem(contig) for contig in contigs]
    assert len(set(stems)) == len(contigs) and not any("/" in stem for stem in stems)
