"""SLURM's short form of a list of nodes, as `scontrol show hostnames` expands it."""

from __future__ import annotations

import pytest

from recipekit.errors import RunError
from recipekit.pipeline.slurm_nodes import expand_nodes


@pytest.mark.parametrize(
    ("nodes", "expanded"),
    [
        ("node1", "node1"),
        ("a-b-1,a-b-2", "a-b-1 a-b-2"),
        ("n[7]", "n7"),
        ("gpu[03-05,9],cpu1", "gpu03 gpu04 gpu05 gpu9 cpu1"),
        ("n[8-11]", "n8 n9 n10 n11"),
        ("n[098-101]", "n098 n099 n100 n101"),
        ("gpu[01-02]-ib", "gpu01-ib gpu02-ib"),
        ("gpu[01-02]-ib.example.org", "gpu01-ib.example.org gpu02-ib.example.org"),
        ("rack[0-1]node[0-2]", "rack0node0 rack0node1 rack0node2 rack1node0 rack1node1 rack1node2"),
        ("r[1,3]n[08-09]x,login", "r1n08x r1n09x r3n08x r3n09x login"),
        ("[1-2]", "1 2"),
    ],
)
def test_ranges_brackets_suffixes_and_padding(nodes: str, expanded: str) -> None:
    assert expand_nodes(nodes) == expanded.split()


@pytest.mark.parametrize(
    "nodes",
    [
        *("", ",", "a,", ",a", "gpu[03-", "gpu03]", "gpu[]", "gpu[[1]]", "gpu[1-2", "a b"),
        *("gpu[5-3]", "gpu[a-c]", "gpu[1,]", "gpu[1--2]", "gpu[-2]", "bgp[000x133]", "n[0-8:2]"),
    ],
)
def test_what_is_not_such_a_list_is_refused(nodes: str) -> None:
    with pytest.raises(RunError, match="is not a list of nodes such as") as error:
        expand_nodes(nodes)
    assert repr(nodes) in str(error.value)
    assert "main_process_ip" in str(error.value)
