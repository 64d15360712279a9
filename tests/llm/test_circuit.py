"""One caller tries a server that is down; the others wait."""

from __future__ import annotations

import asyncio

from recipekit.llm.circuit import SUSPICIOUS, Circuit


async def opened() -> Circuit:
    circuit = Circuit()
    assert [circuit.failed() for _ in range(SUSPICIOUS)] == [False] * (SUSPICIOUS - 1) + [True]
    return circuit


async def admitted(circuit, caller):
    """Whether the caller may ask at once."""
    task = asyncio.ensure_future(circuit.admit(caller))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task.done(), task


def test_while_open_only_the_prober_may_ask():
    async def story():
        circuit = await opened()
        assert (await admitted(circuit, "prober"))[0]
        waits, other = await admitted(circuit, "other")
        assert not waits
        assert (await admitted(circuit, "prober"))[0]
        circuit.served()
        await other
        assert not circuit.is_open

    asyncio.run(story())


def test_a_prober_that_leaves_makes_room_for_another():
    async def story():
        circuit = await opened()
        await circuit.admit("prober")
        _, other = await admitted(circuit, "other")
        circuit.left("prober")
        await other
        assert not (await admitted(circuit, "third"))[1].cancel() or circuit.is_open

    asyncio.run(story())


def test_failures_between_successes_open_nothing():
    circuit = Circuit()
    for _ in range(50):
        circuit.failed()
        circuit.served()
    assert not circuit.is_open


def test_the_prober_passes_on_to_who_has_waited_longest():
    async def story():
        circuit = await opened()
        await circuit.admit("prober")
        waits = [asyncio.ensure_future(circuit.admit(name)) for name in ("second", "third")]
        await asyncio.sleep(0)
        await circuit.pass_on("prober")
        assert [task.done() for task in waits] == [True, False]
        assert not circuit.admits("prober")
        circuit.served()
        await waits[1]

    asyncio.run(story())


def test_a_circuit_can_be_opened_before_failures_do_it():
    circuit = Circuit()
    assert circuit.open()
    assert not circuit.open()
    assert circuit.is_open
    circuit.served()
    assert not circuit.is_open
