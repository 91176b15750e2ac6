"""Terms at gate events: they sum to the logit of the trace, and name the input that makes the gate fall."""

import numpy as np
import pandas as pd
import pytest
import torch

from gatescope.effects.grammar_terms import grammar_terms
from gatescope.errors import InputError
from gatescope.genome.sequence import one_hot
from gatescope.model.network import AccessibilityNetwork
from gatescope.model.network_config import NetworkConfig
from gatescope.model.persist import save_model
from gatescope.trace.replay import trace_windows
from tiny_store import make_store

CONFIG = NetworkConfig(
    inputs=("sequence", "cuts"), targets=("state",), stem_channels=5, stem_width_bp=7, hidden_units=3
)


@pytest.fixture
def run(tmp_path):
    """A network, its store, and the five lowest forget gates of one unit of each direction on contig `one`."""
    store = make_store(tmp_path / "store")
    network = AccessibilityNetwork(CONFIG, torch.Generator().manual_seed(3)).eval()
    weights = network.state_dict()
    save_model(tmp_path / "model", CONFIG, weights, weights, {"run": "a.f1.1", "store": store.content_hash})
    bases = torch.from_numpy(one_hot(store.codes("one")))[None]
    track = torch.from_numpy(np.array(store.track("one", "cuts")))[None, None]
    logits = trace_windows(network.double(), bases, track).forget_logit[0].detach().numpy()
    rows = []
    for index, direction in enumerate(("fwd", "rev")):
        inner = logits[index, 1, 1000:-1000]
        for at in 1000 + np.argsort(inner)[:5]:
            strength = -logits[index, 1, at]
            rows.append(("one", at, direction, 1, "forget", strength, "none"))
    columns = ["chrom", "position", "direction", "unit", "kind", "strength", "motif"]
    table = pd.DataFrame(rows, columns=columns)
    writes = table.assign(kind="write", motif="fwd.1.write.1", strength=0.5).head(2)
    at_the_end = table.head(1).assign(position=3)  # its window would leave the contig
    return tmp_path, logits, pd.concat([table, writes, at_the_end])


def explain(folder, table):
    table.to_csv(folder / "events.tsv", sep="\t", index=False)
    grammar_terms(folder / "store", folder / "model", folder / "events.tsv", folder / "terms.tsv")
    return pd.read_csv(
        folder / "terms.tsv", sep="\t", keep_default_na=False, na_values={"largest_error": "nan"}
    )


def test_terms_sum_to_the_logit_of_the_trace(run):
    folder, logits, table = run
    found = explain(folder, table)
    parts = (
        found[found["term"] != "logit"]
        .groupby(["direction", "kind", "gate"])[["at_event", "difference"]]
        .sum()
    )
    whole = found[found["term"] == "logit"].set_index(["direction", "kind", "gate"])
    np.testing.assert_allclose(parts, whole.loc[parts.index, ["at_event", "difference"]], atol=1e-4)
    for index, direction in enumerate(("fwd", "rev")):
        rows = table[(table["direction"] == direction) & (table["kind"] == "forget")].iloc[:5]
        at = rows["position"].to_numpy()
        logit = whole.loc[(direction, "forget", "forget_gate")]
        # a memory of more than 1,000 bp is missing
        assert logit["n_events"] == 5 and logit["largest_error"] < 0.05
        assert logit["at_event"] == pytest.approx(logits[index, 1, at].mean(), abs=0.05)
        step = -1 if direction == "fwd" else 1
        earlier = at[:, None] + step * np.arange(101, 401)
        assert logit["before"] == pytest.approx(logits[index, 1, earlier].mean(), abs=0.05)
    other = explain(folder, table.assign(strength=table["strength"] + 1))
    assert other.loc[other["gate"] == "forget_gate", "largest_error"].between(0.95, 1.05).all()


def test_writes_are_explained_by_both_of_their_gates(run):
    folder, _, table = run
    found = explain(folder, table)
    writes = found[found["kind"] == "write"]
    assert set(writes["gate"]) == {"input_gate", "candidate"}
    assert writes["largest_error"].isna().all() and (writes["n_events"] == 2).all()
    assert {"bias", "stem bias", "sequence", "track:cuts", "recurrent", "logit"} == set(writes["term"])


def test_no_event_gives_an_empty_table(run):
    folder, _, table = run
    assert len(explain(folder, table.iloc[:0])) == 0


def test_what_is_no_table_of_events_is_refused(run):
    folder, _, table = run
    with pytest.raises(InputError, match=r"events\.tsv: file does not exist"):
        grammar_terms(folder / "store", folder / "model", folder / "events.tsv", folder / "terms.tsv")
    with pytest.raises(InputError, match=r"events\.tsv: no column unit, motif"):
        explain(folder, table.drop(columns=["unit", "motif"]))
    with pytest.raises(InputError, match="contig 'five' is not in the store"):
        explain(folder, table.assign(chrom="five"))
    assert not (folder / "terms.tsv").exists()
