"""Files by their address: whole and checked, or not at all. All against a server on 127.0.0.1."""

import gzip
import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatescope.data import fetch as fetching
from gatescope.data.fetch import fetch
from gatescope.errors import InputError
from gatescope.remote import Remote, check_kept, find_remotes, read_remote, record_of
from loopback import serving

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def server():
    with serving() as site:
        yield site


@pytest.fixture
def site(server, monkeypatch):
    """The server with one file on it; nobody waits between two attempts."""
    monkeypatch.setattr(fetching, "_WAITS_S", (0, 0))
    monkeypatch.setattr(fetching, "_TICK_S", 0.01)
    server.files, server.ways = {"reads.bam": CONTENT}, {}
    server.asked.clear()
    return server


def left(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    "way", ["", "no-head", "no-length", "chunked", "redirect", "slow", ("truncated", 2), (503, 1)]
)
def test_the_file_arrives_whole_however_the_server_sends_it(site, tmp_path, way):
    """Round trip; two broken transfers are made good from the start."""
    site.ways = {"reads.bam": way}
    fetch(site.url("reads.bam"), tmp_path / "reads.bam", checksum=f"sha256={SHA256}")
    assert (tmp_path / "reads.bam").read_bytes() == CONTENT
    assert left(tmp_path) == {"reads.bam", "reads.bam.fetched.json"}
    record = json.loads(record_of(tmp_path / "reads.bam").read_text())
    assert (record["bytes"], record["sha256"], record["md5"]) == (len(CONTENT), SHA256, MD5)
    assert record["url"] == site.url("reads.bam") and record["last_modified"].endswith("2014 10:00:00 GMT")
    assert not site.asked["HEAD", "reads.bam"]  # which servers with signed addresses refuse


REFUSALS = [
    (404, 1, "none", "the server answers 404 .*; open the address in a browser"),
    (403, 1, "none", r"the server answers 403 .*; put the password into ~/\.netrc"),
    ("truncated", 3, "none", "cannot be downloaded .*IncompleteRead.*; start again; nothing was kept"),
    ("truncated", 3, f"sha256={SHA256}", "cannot be downloaded .*IncompleteRead"),
    (500, 3, "none", r"cannot be downloaded \(the server answers 500 .*likely cause: the address is wrong"),
    ("", 1, f"sha256={'0' * 64}", f"wanted sha256 {'0' * 64}, got {SHA256} .*likely cause: another version"),
    ("", 1, f"md5={'0' * 32}", f"wanted md5 {'0' * 32}, got {MD5} .300000 bytes.*; nothing was kept"),
    ("", 0, "sha256=abc", "--checksum: 'sha256=abc' is no checksum; end the address in #sha256="),
]


@pytest.mark.parametrize(("way", "requests", "checksum", "message"), REFUSALS)
def test_a_file_that_is_not_the_one_wanted_is_refused(
    site, tmp_path, run_cli, way, requests, checksum, message
):
    site.ways = {"reads.bam": way}
    target = tmp_path / "kept/reads.bam"
    done = run_cli("fetch", "--url", site.url("reads.bam"), "--checksum", checksum, "--output", target)
    assert done.status == 2 and len(done.messages) == 1, done.stderr
    with pytest.raises(InputError, match=message):
        raise InputError(done.messages[0])
    assert not target.parent.exists() or left(target.parent) == set()
    assert site.asked["GET", "reads.bam"] == requests


def test_a_server_that_falls_silent_is_given_up(site, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "_STALL_S", 0.3)
    site.ways = {"reads.bam": "silent"}
    with pytest.raises(InputError, match=r"no data for 0\.3 s, after 131072 bytes; start again"):
        fetch(site.url("reads.bam"), tmp_path / "reads.bam")
    assert left(tmp_path) == set()


def test_a_server_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "_WAITS_S", (0, 0))
    with pytest.raises(
        InputError, match=r"cannot be downloaded .ConnectionError.*this machine has no way to it"
    ):
        fetch("http://127.0.0.1:9/reads.bam", tmp_path / "reads.bam")


def test_a_killed_download_leaves_nothing_that_looks_whole(site, tmp_path):
    """Killed (-9) in the middle of the file: the next start removes what was left and begins again."""
    site.ways = {"reads.bam": ("silent", 1)}
    command = [sys.executable, "-m", "gatescope.cli", "fetch", "--url", site.url("reads.bam")]
    process = subprocess.Popen([*command, "--output", str(tmp_path / "reads.bam")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert left(tmp_path) and "reads.bam" not in left(tmp_path)
    fetch(site.url("reads.bam"), tmp_path / "reads.bam")
    assert (tmp_path / "reads.bam").read_bytes() == CONTENT
    assert left(tmp_path) == {"reads.bam", "reads.bam.fetched.json"}


@pytest.mark.parametrize("name", ["genome.fa.gz", "genome.fa"])
def test_packing_for_the_way_is_taken_off_but_the_file_stays_as_it_is_published(site, tmp_path, name):
    """Many servers call a .gz file `Content-Encoding: gzip`; its published checksum is that of the .gz."""
    packed = gzip.compress(b">chr1\nACGT\n", mtime=0)
    site.files, site.ways = {name: packed}, {name: "encoded"}
    fetch(site.url(name), tmp_path / name)
    assert (tmp_path / name).read_bytes() == (packed if name.endswith(".gz") else b">chr1\nACGT\n")


def test_the_checksum_may_be_that_of_what_a_gzip_file_holds(site, tmp_path, monkeypatch):
    """Gzip files of the same content differ in their headers, so some publish the checksum of the content."""
    text = b">chr1\nACGT\n" * 1000
    site.files = {"genome.fa.gz": gzip.compress(text, mtime=0)}
    digest = hashlib.sha256(text).hexdigest()
    remote = read_remote(f"{site.url('genome.fa.gz')}#sha256={digest}", "here")
    fetch(remote.url, tmp_path / remote.path, checksum=str(remote.checksum))
    monkeypatch.chdir(tmp_path)
    check_kept([remote])
    site.files = {"genome.fa.gz": gzip.compress(text, mtime=0)[:-9]}
    with pytest.raises(InputError, match=f"wanted sha256 {digest}"):
        fetch(remote.url, tmp_path / "other", checksum=str(remote.checksum))


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "an empty file"), (b"\n<!DOCTYPE html><p>Log in", "a web page")]
)
def test_what_can_be_no_data_is_refused(site, tmp_path, content, message):
    site.files = {"reads.bam": content}
    with pytest.raises(InputError, match=f"the server sends {message}"):
        fetch(site.url("reads.bam"), tmp_path / "reads.bam")


def test_a_file_that_has_changed_since_is_noticed(site, tmp_path):
    """Without a declared checksum the recorded one counts, until its record is removed."""
    target, other = tmp_path / "reads.bam", CONTENT + b"!"
    fetch(site.url("reads.bam"), target)
    target.unlink()
    site.files = {"reads.bam": other}
    with pytest.raises(
        InputError, match=f"the file has changed: sha256 was {SHA256}, is .*remove .*fetched.json"
    ):
        fetch(site.url("reads.bam"), target)
    assert not target.exists()
    fetch(site.url("reads.bam"), target, checksum=f"sha256={hashlib.sha256(other).hexdigest()}")
    assert target.read_bytes() == other


def test_a_file_that_does_not_fit_is_refused_before_it_is_sent(site, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: SimpleNamespace(free=len(CONTENT) - 1))
    with pytest.raises(InputError, match=r"the file has 0\.3 MB, 0\.3 MB are free in .*; make room"):
        fetch(site.url("reads.bam"), tmp_path / "reads.bam")
    assert left(tmp_path) == set()


def test_a_transfer_of_unknown_length_is_pointed_out(site, tmp_path, caplog):
    site.ways = {"reads.bam": "no-length"}
    fetch(site.url("reads.bam"), tmp_path / "reads.bam")
    assert "does not say how long the file is" in caplog.text


def test_the_kept_file_is_checked_without_the_network(tmp_path, monkeypatch):
    """What the workflow asks at each start: a later checksum, a file that was changed, a damaged record."""
    monkeypatch.chdir(tmp_path)
    with serving() as site:
        site.files = {"reads.bam": CONTENT}
        remote = read_remote(site.url("reads.bam"), "here")
        fetch(remote.url, remote.path)
    check_kept(
        [remote, read_remote(f"{remote.url}#md5={MD5.upper()}", "here"), Remote("https://a.org/never")]
    )
    with pytest.raises(
        InputError, match=f"wants sha256 {'1' * 64}, the file that was fetched from .* has {SHA256}"
    ):
        check_kept([read_remote(f"{remote.url}#sha256={'1' * 64}", "here")])
    record_of(remote.path).write_text("{}")
    with pytest.raises(InputError, match=r"its record downloads/.* is damaged; remove the file"):
        check_kept([remote])
    record_of(remote.path).write_text(json.dumps({"bytes": 5, "sha256": SHA256, "md5": MD5}))
    with pytest.raises(InputError, match="has 300000 bytes, 5 were fetched: it was changed since"):
        check_kept([remote])


def test_other_storages_are_read_by_their_plugins(tmp_path, monkeypatch):
    """A plugin with the interface of Snakemake's, and none."""

    class StorageObject:
        def __init__(self, query):
            self.query = query

        def set_local_path(self, path):
            self.path = path

        def exists(self):
            return self.query.endswith("bam")

        def retrieve_object(self):
            self.path.write_bytes(CONTENT)

    plugin = SimpleNamespace(
        storage_provider=lambda **_: SimpleNamespace(object=StorageObject),
        register_cli_args=lambda *_: None,
        get_settings=lambda _: SimpleNamespace(get_settings=lambda: None),
    )
    plugin.storage_provider.is_valid_query = lambda url: url.startswith("s3://")
    monkeypatch.setattr(fetching, "StoragePluginRegistry", lambda: SimpleNamespace(plugins={"s3": plugin}))
    fetch("s3://bucket/reads.bam", tmp_path / "reads.bam", checksum=f"md5={MD5}")
    assert (tmp_path / "reads.bam").read_bytes() == CONTENT
    with pytest.raises(InputError, match="there is no such file"):
        fetch("s3://bucket/reads.bed", tmp_path / "reads.bed")
    with pytest.raises(
        InputError, match=r"no storage plugin .* reads gs://; pip install snakemake-storage-plugin-gcs"
    ):
        fetch("gs://bucket/reads.bed", tmp_path / "reads.bed")


def test_one_address_one_place():
    """Files of one name from two addresses do not meet; a checksum changes no place; odd names stay file names."""
    one, two = (read_remote(f"https://h.org/{at}/fragments.tsv.gz", "here") for at in "ab")
    assert one.path != two.path and one.path.endswith("/fragments.tsv.gz")
    assert read_remote(f"{one.url}#md5={MD5}", "here").path == one.path
    odd = read_remote("https://h.org/get/..%2F{x}%20y?file=a.bed", "here").path
    assert odd.rpartition("/")[2] == "_x_y" and len(odd.split("/")) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("https://h.org/a.bed#crc32=12345678", "'crc32=12345678' is no checksum; end the address in"),
        ("https://h.org/a.bed#", "'' is no checksum"),
        (f"https://h.org/a.bed#sha256={MD5}", "is no checksum"),
        ("https://h.org/", "https://h.org/ names no file"),
        ("https:///a.bed", "names no file"),
        ("https://[h.org/a.bed", r"https://\[h\.org/a\.bed is no address .Invalid IPv6 URL"),
        ("https://me:secret@h.org/a.bed", "a password would end up in every log"),
    ],
)
def test_addresses_with_a_mistake(text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_remote(text, "samples.tsv line 2: atac")
    assert str(caught.value).startswith("samples.tsv line 2: atac: ") and "secret" not in str(caught.value)


@given(st.text(max_size=300))
def test_any_text_behind_a_scheme_is_an_address_or_one_message(text):
    """Fuzz: never a traceback, never a path outside the folder of downloads."""
    try:
        path = read_remote(f"https://{text}", "here").path
    except InputError:
        return
    assert re.fullmatch(r"downloads/[0-9a-f]{12}/[A-Za-z0-9_][A-Za-z0-9._-]{0,119}", path)


def test_addresses_are_found_in_every_kind_of_field():
    fields = [
        ("a", f"https://h.org/1.bam#md5={MD5}, s3://b/2.bam,local.bam"),
        ("t", "x=https://h.org/x.bw?v=1:zero"),
    ]
    found = find_remotes([*fields, ("b", "https://h.org/1.bam")])
    assert [remote.url for remote in found.values()] == [
        "https://h.org/1.bam",
        "s3://b/2.bam",
        "https://h.org/x.bw?v=1",
    ]
    assert str(found[next(iter(found))].checksum) == f"md5={MD5}"
    with pytest.raises(
        InputError, match=r"b: https://h\.org/1\.bam is given with md5=0{32} here and with md5="
    ):
        find_remotes([*fields, ("b", f"https://h.org/1.bam#md5={'0' * 32}")])
