"""What does encoding a share of the contigs leave behind? A folder that appears whole or not at all.

Several processes can encode one genome: each writes the arrays of its share beside the store, and the one that writes
the store takes them over. A part that was made from other files, parameters or versions, or was damaged, is not taken.

Public names: `Parts`, `Gaps`.
"""

import glob
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gatescope.data.arrays import ContigArrays, GenomeArrays, write_arrays
from gatescope.errors import InputError
from gatescope.files import fingerprint, read_json, replacing_folder, write_json

log = logging.getLogger(__name__)

_DESCRIPTION = "part.json"
_WRITTEN = (_DESCRIPTION, "*.npy")

#: Of each extra track, how many scored bases and how many others had no value.
Gaps = dict[str, list[int]]
#: What reads a contig from the user's files.
Read = Callable[[str], tuple[ContigArrays, Gaps]]


class Parts:
    """Keep what several processes encode of one genome, until the store is written.

    Parameters
    ----------
    store : Path or str
        The store to be; the parts rest beside it, in a folder whose name is a hash of `made_from`.
    made_from : mapping
        Everything that decides the arrays: hashes of files, parameters, versions. JSON.
    """

    def __init__(self, store: Path | str, made_from: Mapping[str, Any]) -> None:
        target = Path(store).resolve()
        self._made_from = json.loads(json.dumps(made_from))  # tuples become lists, as in the files
        letters = fingerprint(made_from)[:8]
        self.folder = target.with_name(f"{target.name}.parts.{letters}")

    def write(self, piece: str, contigs: Iterable[str], read: Read) -> None:
        """Encode the contigs of one piece, unless an earlier run has done it."""
        contigs, target = list(contigs), self.folder / piece
        found = self._finished(target)
        if not contigs or (found is not None and list(found.lengths) == contigs):
            log.info("%s: %s", piece, "encoded by an earlier run" if contigs else "there are fewer contigs")
            return
        gaps: dict[str, Gaps] = {}
        with replacing_folder(target, _WRITTEN) as partial:
            arrays = write_arrays(partial, _noting_gaps(contigs, read, gaps))
            write_json(partial / _DESCRIPTION, {"made_from": self._made_from, "gaps": gaps, **arrays})
        log.info("%s: encoded %d contigs, %d bp", piece, len(contigs), sum(arrays["contigs"].values()))

    def read(self, contigs: Iterable[str], read: Read) -> Iterator[tuple[str, ContigArrays, Gaps]]:
        """Yield contigs one after the other, from the parts where they have them."""
        parts = [part for path in sorted(self.folder.glob("[!.]*")) if (part := self._finished(path))]
        holder = {contig: part for part in parts for contig in part.lengths}
        if holder:
            log.info("%d contigs were encoded by other processes", len(holder))
        for contig in contigs:
            part = holder.get(contig)
            if part is None:
                arrays, gaps = read(contig)
            else:
                arrays, gaps = part.load(contig), part.meta["gaps"][contig]
            yield contig, arrays, gaps
            del arrays  # before the next one is read

    def remove(self) -> None:
        """Remove all parts: the store is written. Those of other inputs may be somebody's work, and are named."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for other in sorted(self.folder.parent.glob(f"{glob.escape(self.folder.stem)}.*")):
            log.warning("%s was encoded from other inputs or parameters; remove it if nobody needs it", other)

    def _finished(self, folder: Path) -> GenomeArrays | None:
        """Return what a process left, if it is whole and was made from the same."""
        if not (folder / _DESCRIPTION).is_file():
            return None
        try:
            meta = read_json(folder / _DESCRIPTION)
            if isinstance(meta, dict) and meta.get("made_from") == self._made_from:
                part = GenomeArrays(folder, meta)
                part.verify()
                return part
            reason = "it was made from something else"
        except InputError as error:
            reason = str(error)
        log.warning("%s is not used: %s", folder, reason)
        return None


def _noting_gaps(
    contigs: Iterable[str], read: Read, gaps: dict[str, Gaps]
) -> Iterator[tuple[str, ContigArrays]]:
    """Read contigs one after the other, and note their gaps."""
    for contig in contigs:
        arrays, gaps[contig] = read(contig)
        yield contig, arrays
        del arrays  # before the next one is read
