"""How does a person see the whole result? One HTML file that opens from a folder, without a network.

Public names: `report`, `ReportSettings`.
"""

import importlib.resources
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from gatescope import __version__
from gatescope.browser import content
from gatescope.browser.charts import inline_svg
from gatescope.browser.evidence import SampleEvidence, read_evidence
from gatescope.browser.places import profile_shape
from gatescope.browser.runs import run_part, score_part
from gatescope.browser.together import together_part
from gatescope.browser.view import View, embedded_view, igv_script, igv_version
from gatescope.data.store import EncodedStore
from gatescope.errors import InputError
from gatescope.files import replacing_file
from gatescope.genome.contigs import name_list
from gatescope.settings import read_section

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReportSettings:
    """Hold the configuration's section `browser`.

    Attributes
    ----------
    boundaries : int
        Boundaries in the genome view.
    window_bp : int
        Length of the stretch stored around each.
    ucsc_genome : str
        Not used here; the section is shared with `hub`.
    """

    boundaries: int = 6
    window_bp: int = 3000
    ucsc_genome: str = ""

    def __post_init__(self) -> None:
        if self.boundaries < 1 or self.window_bp < 100:
            raise InputError(
                f"boundaries {self.boundaries}, window_bp {self.window_bp}; wanted at least 1 and 100",
                where="config: browser",
            )


def report(
    sample: str,
    results: Path | str,
    genome: Path | str,
    runs: Sequence[str],
    *,
    peers: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write ``browser/report.html``: every number in it comes from a file of the results folder.

    The page makes no request, and its content security policy forbids it to. The genome view holds only the
    windows around the strongest boundaries of the first run.

    Parameters
    ----------
    sample : str
        Name of the sample.
    results : path
        Results folder of the sample.
    genome : path
        Genome file that the results were made from.
    runs : sequence of str
        At least one, with gates.
    peers : sequence of str
        Runs without gates, of which the page shows how well they learn and score.
    settings : mapping, optional
        Fields of `ReportSettings`.

    Raises
    ------
    InputError
        If a setting is unknown, a file is missing or incomplete, or the genome is not the one that was encoded.
    """
    options = read_section(ReportSettings, settings or {}, "config: browser")
    results, genome = Path(results), Path(genome)
    evidence = read_evidence(results, runs, peers)
    EncodedStore(results / "data" / "encoded").require_genome(genome)
    view = embedded_view(results, genome, runs[0], count=options.boundaries, window_bp=options.window_bp)
    page = _page(sample, genome, evidence, view, options)
    page["together"] = together_part(results, (*runs, *peers))
    path = results / "browser" / "report.html"
    with replacing_file(path) as partial:
        partial.write_text(_render(page, view), encoding="utf-8")
    log.info("report.html: %d runs, %d boundaries, %.1f MB; open it in any web browser",
             len(evidence.runs), len(view.places), path.stat().st_size / 1e6)  # fmt: skip


def _page(
    sample: str, genome: Path, evidence: SampleEvidence, view: View, options: ReportSettings
) -> dict[str, Any]:
    """Collect what the template shows."""
    answer = evidence.verdict["hypothesis"]
    return {
        "sample": sample,
        "version": __version__,
        "igv_version": igv_version(),
        "answer": answer.capitalize(),
        "mode": evidence.verdict["mode"],
        "is_provisional": evidence.verdict["provisional"],
        "answer_class": answer.replace(" ", "-"),
        "sentence": evidence.verdict["sentence"],
        "schematic": Markup(_template_file("schematic.svg")),
        "inputs": content.inputs_table(sample, genome, evidence),
        "runs_table": content.runs_table((*evidence.runs, *evidence.peers)),
        "quality": content.quality_table(evidence.preflight, evidence.bias),
        "preference": Markup(inline_svg(evidence.preference, "preference", "What Tn5 likes to cut")),
        "folds": content.folds_table(evidence.preflight),
        "filters": content.filters_table(evidence.meta),
        "funnel": Markup(inline_svg(evidence.funnel, "funnel", "Peaks and background windows at each step")),
        "runs": [run_part(run, number) for number, run in enumerate(evidence.runs, 1)],
        "peers": [
            score_part(run, number) for number, run in enumerate(evidence.peers, len(evidence.runs) + 1)
        ],
        "places": content.places_table(view.places, profile_shape(evidence.runs[0].verdict)),
        "view_run": view.run,
        "view_note": _view_note(evidence, view),
        "window_words": f"{options.window_bp:,} bases",
        "track_key": content.track_table(view.key),
        "certificates": content.certificates_table(evidence.runs),
        "files": content.files_table(),
    }


def _view_note(evidence: SampleEvidence, view: View) -> str:
    """Say what is not in the view."""
    others = [run.name for run in evidence.runs if run.name != view.run]
    note = "Gates are drawn from 0 to 1. Zoomed out, a pixel sums up several bases: zoom in for exact values."
    if not others:
        return note
    return (
        f"{note} browser/igv_session.xml shows the chosen units and the predictions of {name_list(others)}."
    )


def _render(page: dict[str, Any], view: View) -> str:
    """Fill the template; everything that is not marked as safe is escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    data = {"loci": view.loci, "titles": [place.title for place in view.places], "options": view.options}
    # a script element ends at the first "</", wherever it stands
    text = json.dumps(data, separators=(",", ":")).replace("<", r"\u003c")
    return environment.from_string(_template_file("report.html")).render(
        page=page,
        css=Markup(_template_file("report.css")),
        script=Markup(_template_file("report.js")),
        igv=Markup(igv_script()),
        view=Markup(text),
    )


def _template_file(name: str) -> str:
    return (
        importlib.resources.files("gatescope.browser").joinpath("templates", name).read_text(encoding="utf-8")
    )
