"""The flag, the Python argument and what a rule passes are one word."""

import argparse
import importlib
import inspect
import re
from pathlib import Path

import pytest

from gatescope.stages import STAGE_VERSIONS
from gatescope.verbs import VERBS

ROOT = Path(__file__).parents[2]
RULES = "\n".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
CALLS = re.findall(r'r"""\s+gatescope (\w+) \\\n(.*?)"""', RULES, flags=re.DOTALL)


def options(verb):
    """Flags that reach the function; those that print something and stop have no value."""
    return [each for each in VERBS[verb].options if each[1].get("default") is not argparse.SUPPRESS]


@pytest.mark.parametrize("verb", VERBS)
def test_flags_are_the_arguments_of_the_function(verb):
    function = getattr(importlib.import_module(VERBS[verb].module), verb)
    flags = {flag.removeprefix("--").replace("-", "_") for flag, _ in options(verb)}
    arguments = inspect.signature(function).parameters
    assert flags <= set(arguments)
    assert {name for name, at in arguments.items() if at.default is at.empty} <= flags


@pytest.mark.parametrize("verb", VERBS)
def test_defaults_of_flags_are_those_of_the_function(verb):
    function = getattr(importlib.import_module(VERBS[verb].module), verb)
    arguments = inspect.signature(function).parameters
    for flag, settings in options(verb):
        default = arguments[flag.removeprefix("--").replace("-", "_")].default
        if not settings["required"] and default is not inspect.Parameter.empty:
            assert (settings["default"] or None) == (default or None), flag


def test_every_verb_that_reads_data_has_a_rule_and_a_stage_version():
    by_hand = {
        "gallery",  # no sample, no run: a check of the installation, and a page to learn from
        "track_boundaries",  # of tracks that come from elsewhere
    }
    assert {verb for verb, _ in CALLS} == set(VERBS) - by_hand == set(STAGE_VERSIONS)


@pytest.mark.parametrize(("verb", "body"), CALLS, ids=[verb for verb, _ in CALLS])
def test_rules_pass_every_flag_quoted(verb, body):
    passed = re.findall(r"(--[\w-]+)", body)
    known = {flag: settings for flag, settings in VERBS[verb].options}
    required = {flag for flag, settings in known.items() if settings["required"]}
    assert len(passed) == len(set(passed))
    assert required | {"--log"} <= set(passed) <= set(known) | {"--log"}
    assert all(field.endswith(":q}") for field in re.findall(r"\{.*?\}", body))


def test_rules_say_what_they_are():
    names = re.findall(r"^rule (\w+):\n    (.*)", RULES, flags=re.MULTILINE)
    assert len(names) == len(CALLS)
    assert all(first.startswith('"""') for _, first in names)
    bodies = re.split(r"^(?:use )?rule ", RULES, flags=re.MULTILINE)[1:]
    assert all("\n    log:" in body for body in bodies if " as " not in body.splitlines()[0])
    assert not re.search(r"^    (run|script|message):", RULES, flags=re.MULTILINE)
