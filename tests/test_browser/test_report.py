"""The report as a file: complete, escaped, from files only, the same bytes each time."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest

from fake_results import write_fake_results
from gatescope.browser.charts import inline_svg
from gatescope.browser.evidence import Record
from gatescope.browser.report import report
from gatescope.errors import InputError
from gatescope.figures import new_figure, save_figure

SETTINGS = {"boundaries": 2, "window_bp": 600, "ucsc_genome": ""}
NEEDED = [
    "data/preflight.json",
    "data/encoded/meta.json",
    "data/encoded/regions.tsv",
    "data/regions_funnel.svg",
    "atac/cuts.bw",
    "atac/tn5_bias.json",
    "atac/tn5_bias.svg",
    "boundaries/verdict.json",
    "boundaries/{run}/verdict.json",
    "boundaries/{run}/profile.svg",
    "model/{run}/model.json",
    "model/{run}/training.csv",
    "model/{run}/gradient_reach.tsv",
    "model/{run}/evaluation.tsv",
    "model/{run}/evaluation.json",
    "model/{run}/evaluation_contigs.tsv",
    "model/{run}/predicted_state.bw",
    "trace/{run}/summary.json",
    "trace/{run}/forget_gate.fwd.boundary_unit.bw",
    "trace/{run}/forget_gate.fwd.boundary_unit.bw.json",
    "trace/{run}/output_gate.rev.mean.bw",
    "design/{run}/designs.tsv",
]


class Page(HTMLParser):
    """Collect what a browser would act on."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.scripts, self.tags, self.words = [], [], [], []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "script":
            self._in_script = True
            self.scripts.append("")

    def handle_endtag(self, tag):
        if tag == "script":
            self._in_script = False

    def handle_data(self, data):
        if self._in_script:
            self.scripts[-1] += data
        else:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def write(fake, sample="demo", **settings):
    report(sample, fake.results, fake.genome, fake.runs, settings={**SETTINGS, **settings})
    return (fake.results / "browser" / "report.html").read_text()


@pytest.fixture(scope="module")
def page(fake):
    return Page(write(fake))


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory):
    return write_fake_results(tmp_path_factory.mktemp("spoiled"))


def test_every_section_is_there(page):
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert sections == "verdict read ran data training scores boundaries browser designs provenance".split()
    links = [attributes["href"][1:] for tag, attributes in page.tags if tag == "a"]
    assert set(links) <= set(sections)


def test_verdict_comes_first_and_is_provisional(fake, page):
    verdict = json.loads((fake.results / "boundaries" / "verdict.json").read_text())
    assert verdict["sentence"] in page.text
    assert (
        page.text.index("provisional")
        < page.text.index(verdict["sentence"])
        < page.text.index("Tn5 can reach")
    )


def test_scores_are_those_of_the_table(fake, page):
    scores = pd.read_csv(fake.results / "model" / fake.runs[0] / "evaluation.tsv", sep="\t")
    for row in scores[scores["bin_bp"] == 200].itertuples():
        assert f"{row.pearson:.3f} ({row.pearson_low:.3f} to {row.pearson_high:.3f})" in page.text
    assert "12.1% of them open (base rate)" in page.text
    assert "nan" not in page.text.lower().split()


def test_what_was_within_reach_is_shown_and_its_numbers_folded_away(fake, page):
    shown, folded = page.text.split("Other bin sizes, single contigs", 1)
    for words in (
        "0 is as good as the profile the network predicts for some other place",
        "Pearson r, in bins of 200",
    ):
        assert words in shown, words
    for words in (
        "In bins of 1,000 bp",
        "95% (93% to 97%)",
        "0.943 (0.923 to 0.963)",
        "Place of the cuts, around peaks",
        "without memory, Jensen-Shannon distance",
        "12 windows of 1,000 bp with 1,234 cuts",
        "Calibration: open or closed (single bases)",
        "0.16 (0.14 to 0.18)",
    ):
        assert words in folded and words not in shown, words
    assert "wherever there are enough cuts" not in page.text  # no windows of that kind in these results


@pytest.mark.parametrize("entry", ["ceiling", "profiles", "calibration"])
def test_an_evaluation_of_an_older_version_is_refused(own_fake, entry):
    path = own_fake.results / "model" / own_fake.runs[0] / "evaluation.json"
    content = json.loads(path.read_text())
    del content[entry]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"no entry '{entry}'"):
        write(own_fake)


def test_limits_without_intervals_and_without_a_state(own_fake):
    path = own_fake.results / "model" / own_fake.runs[0] / "evaluation.json"
    content = json.loads(path.read_text())
    rows = [*content["ceiling"]["scores"], *content["profiles"]["windows"]["peaks"]["scores"]]
    content["calibration"]["of"] = [each for each in content["calibration"]["of"] if each["target"] == "cuts"]
    for row in [*rows, *content["calibration"]["of"], *content["calibration"]["of"][0]["groups"]]:
        row |= {name: None for name in row if name.endswith(("_low", "_high"))}
    rows[0] |= {"ceiling": None, "reached": None}
    path.write_text(json.dumps(content))
    text = Page(write(own_fake)).text
    assert "Calibration: cuts (bins of 200 bp)" in text and "Calibration: open or closed" not in text
    assert "does not apply" in text and "nan" not in text.lower().split()


def test_numbers_of_other_files(page):
    for words in (
        "epoch 4 of 5, validation loss 0.260",
        "1,200 of them distinct",
        "read from 44,177 background cuts",
        "explains 21.0 % of the variation of cuts on background",
        "84.0%",
        "3.1e-07",
        "0.44 (0.40 to 0.48)",
        "Supported (reset) provisional",
        "-4.13 (-4.41 to -3.85)",
        "-0.11 (untrained, unit 3)",
        "0.07 (4 places)",
        "-4.00 (25 bp); -1.00 (100 bp); -0.20 (500 bp)",
    ):
        assert words in page.text, words


def test_words_about_edges_say_no_more_than_was_measured(own_fake):
    path = own_fake.results / "boundaries" / own_fake.runs[0] / "verdict.json"
    content = json.loads(path.read_text()) | {"shape": {"profile_bp": 400, "flank_bp": 300, "dip_bp": 20}}
    path.write_text(json.dumps(content))
    text = Page(write(own_fake)).text
    for words in (
        "falls more than chance gives; how much memory is kept over the fall, in the table below, decides",
        "mean over the bases read 21 to 300 before it, counting from 1",
        "minimum over the first 20 bases read beyond it",
        "the most falling unit of the same direction that holds its memory",
        "but for those shorter than a training window",
    ):
        assert words in text, words


def test_ids_are_unique_also_with_several_runs(tmp_path):
    fake = write_fake_results(tmp_path, runs=("sequence.f1.1", "sequence.f1.2"))
    text = write(fake)
    page = Page(text)
    assert len(set(page.ids)) == len(page.ids)
    used = re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', text.split('<script type="application/json"')[0])
    assert used and set(used) <= set(page.ids)
    words = "browser/igv_session.xml shows the chosen units and the predictions of sequence.f1.2."
    assert words in page.text
    assert "together" in page.ids and ("a", {"href": "#together"}) in page.tags
    assert "sequence, ensemble of 2 0.550" in page.text and "0.600 (seeds ± 0.004)" in page.text
    assert "sequence against others: made up." in page.text


def test_a_run_without_gates_has_a_curve_and_scores(tmp_path):
    """Nothing of it is there but what `train` and `evaluate` write."""
    fake = write_fake_results(tmp_path, runs=("sequence.f1.1", "cnn.f1.1"))
    for stage in ("trace", "boundaries", "design"):
        shutil.rmtree(fake.results / stage / "cnn.f1.1")
    model = fake.results / "model" / "cnn.f1.1" / "model.json"
    content = json.loads(model.read_text())
    network = content["network"] | {"trunk": "dilated", "trunk_layers": 8, "stem_channels": 43}
    model.write_text(json.dumps(content | {"network": network}))
    report("demo", fake.results, fake.genome, fake.runs[:1], peers=fake.runs[1:], settings=SETTINGS)
    page = Page((fake.results / "browser" / "report.html").read_text())
    assert len(set(page.ids)) == len(page.ids)
    assert "no gates: 43 channels, 8 dilated convolutions" in page.text
    assert page.text.count("Kept: epoch 4 of 5") == 2
    assert page.text.count("cnn.f1.1 beats the k-mer baseline") == 1
    alone = Page(write(fake_without(fake, "cnn.f1.1"))).text
    assert page.text.count("What each predictor is") == alone.count("What each predictor is") + 1
    assert page.text.count("What this does not show") == alone.count("What this does not show")


def fake_without(fake, run):
    return replace(fake, runs=tuple(name for name in fake.runs if name != run))


def test_a_network_that_predicts_the_state_only(tmp_path):
    fake = write_fake_results(tmp_path, targets=("state",), is_planted=False)
    text = Page(write(fake)).text
    assert "AUPRC, in bins of 200 bp" in text and "predicted state" in text
    assert "Place of the cuts" not in text and "Number of cuts" not in text and "Calibration: open" in text
    assert "Pearson r, in" not in text and "predicted cuts" not in text and "planted truth" not in text
    assert "in no list of their fold" not in text
    for run in fake.runs:
        model = fake.results / "model" / run / "model.json"
        content = json.loads(model.read_text())
        model.write_text(json.dumps(content | {"fold": content["fold"] | {"train": ["a"]}}))
    assert "training window, and those that are in no list of their fold." in Page(write(fake)).text


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "A & B"]
)
def test_what_the_user_wrote_is_text(fake, name):
    page = Page(write(fake, sample=name))
    assert len(page.scripts) == 3
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert name in page.text
    assert "peaks <b>&.narrowPeak" in page.text  # a file name, from meta.json


def test_nothing_is_fetched(page):
    for tag, attributes in page.tags:
        assert "src" not in attributes and tag not in ("link", "iframe", "object", "embed"), (tag, attributes)
        assert not attributes.get("href", "#").startswith(("http", "//")), attributes


def test_data_cannot_end_their_script(page):
    view = page.scripts[0]
    assert "<" not in view
    content = json.loads(view)
    assert len(content["loci"]) == len(content["titles"]) == 2
    assert content["options"]["loadDefaultGenomes"] is False and content["options"]["search"] is False


def test_same_bytes(fake):
    assert write(fake) == write(fake)


def test_size(fake):
    assert len(write(fake, boundaries=4, window_bp=4000)) < 5_000_000


@pytest.mark.parametrize("path", NEEDED)
def test_a_missing_file_is_named(spoiled, path):
    missing = spoiled.results / path.format(run=spoiled.runs[0])
    hidden = missing.with_name(missing.name + ".hidden")
    missing.rename(hidden)
    try:
        with pytest.raises(InputError, match=re.escape(str(missing))):
            write(spoiled)
    finally:
        hidden.rename(missing)
    assert not (spoiled.results / "browser").exists()


def test_a_missing_entry_is_named(own_fake):
    path = own_fake.results / "model" / own_fake.runs[0] / "model.json"
    content = json.loads(path.read_text())
    del content["network"]["hidden_units"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"model\.json: network: no entry 'hidden_units'"):
        write(own_fake)


def test_a_missing_column_is_named(own_fake):
    path = own_fake.results / "model" / own_fake.runs[0] / "training.csv"
    path.write_text(path.read_text().replace("valid_loss", "loss"))
    with pytest.raises(InputError, match=r"training\.csv: no column valid_loss"):
        write(own_fake)


@pytest.mark.parametrize("settings", [{"window": 5}, {"boundaries": 0}, {"window_bp": 50}])
def test_wrong_settings(fake, settings):
    with pytest.raises(InputError, match="config: browser"):
        write(fake, **settings)


def test_record_is_a_mapping_that_knows_its_file():
    record = Record({"a": {"b": 1}, "c": [2]}, "x.json")
    assert (record["a"]["b"], list(record), len(record)) == (1, ["a", "c"], 2)


def test_inline_svg_keeps_to_itself(tmp_path):
    figure, axes = new_figure()
    axes[0, 0].plot([0, 1], [0, 1], marker="o")
    save_figure(figure, tmp_path / "x.svg")
    first, second = (inline_svg(tmp_path / "x.svg", prefix, 'a "title" <b>') for prefix in ("a1", "a2"))
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (first, second)]
    assert ids[0] and not ids[0] & ids[1]
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', first)) <= ids[0]
    assert "<style" not in first and "<?xml" not in first and "<metadata" not in first
    assert 'aria-label="a &quot;title&quot; &lt;b>"' in first


def test_a_figure_with_a_script_is_refused(tmp_path):
    (tmp_path / "x.svg").write_text("<svg><script>alert(1)</script></svg>")
    with pytest.raises(InputError, match="not a figure of gatescope"):
        inline_svg(tmp_path / "x.svg", "a", "title")


def test_memories_are_compared_and_useless_units_named(fake):
    page = Page(write(fake))
    assert "half-life planned 2 to 1,000 bp, middle 44.9 bp" in page.text
    assert "half-life after training, while reading 16 to 8,000 bp, middle 360 bp" in page.text
    assert "units that never let go 1 of 64: fwd:0 " in page.text
    assert "units that never hold 1 of 64: fwd:1 " in page.text
    assert "units that show nothing 2 of 64: fwd:2, rev:8 " in page.text


def test_the_reach_of_the_training_signal_is_told_and_drawn(fake):
    page = Page(write(fake))
    assert (
        "training signal, untrained network, fwd 10% left after 333 bp, 1% left after more than 599 bp"
        in page.text
    )
    assert "training signal, trained network, rev 10% left after 2 bp, 1% left after 4 bp" in page.text
    alarm = "alarm trained network, layer 1, rev: the training signal vanishes: 1% of it is left after 4 bp, sooner"
    assert page.text.count(alarm) == page.text.count(": the training signal ") == len(fake.runs)
    assert "How far back the training signal reaches, untrained and trained" in write(fake)
