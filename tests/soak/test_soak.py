"""The soak itself, on a small scale: it runs, and it finds what is planted. At length: `make soak`."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")]


@pytest.fixture(scope="module", autouse=True)
def helpers() -> Iterator[None]:
    import forks

    with pytest.MonkeyPatch.context() as patch:
        for folder in forks.HELPERS:
            patch.syspath_prepend(folder)
        yield


@pytest.fixture(scope="module")
def session(helpers: None) -> Iterator[Any]:
    import forks
    import parts

    with forks.shim() as shim, forks.Forks(shim) as lane:
        yield parts.Soak(1, [lane], shim)


@pytest.fixture
def planted(session: Any) -> Iterator[Any]:
    """A session into whose processes a fault can be planted."""
    yield session
    session.lanes[0].plant = ""


def calls(session: Any) -> list[str]:
    """The calls that write of a run, as the processes of this session make them."""
    import kills
    from forks import Order
    from parts import place

    with place() as folder:
        found: list[str] = session.lanes[0].run(Order(folder, kills.WORKS["a run"].arguments, plan={})).notes["calls"]
    return found


@pytest.mark.parametrize("plant", ["", "forgets_checkpoints", "not_atomic"])
def test_kills(planted: Any, monkeypatch: pytest.MonkeyPatch, plant: str) -> None:
    import kills
    from sites import sites

    whole = kills.whole(planted, "a run") if not plant else kills.Whole({}, 1, 0)
    planted.lanes[0].plant = plant
    renames = next(site for site in sites() if (site.file, site.name) == ("base/files.py", "replace"))
    known = calls(planted)
    records = [
        n for n, key in enumerate(known, 1) if f" base/files.py:{renames.first} " in key and " records/run.py:" in key
    ]
    number = records[len(records) // 2]
    monkeypatch.setattr(kills, "moment", lambda *_: ({"death": "half", "number": number}, None, f"at write {number}"))
    monkeypatch.setattr(kills, "whole", lambda *_: whole)
    found = kills.soak(planted, 1, ["a run"])
    if plant:
        words = {"forgets_checkpoints": "was passed over", "not_atomic": "JSONDecodeError"}[plant]
        assert len(found.failures) == 1 and words in found.failures[0]
    else:
        assert not found.failures and found.rows["a run"]["kills"] == 1
        assert found.rows["a run"]["completed, with the same bits"] == 1


@pytest.mark.parametrize("plant", ["", "shouts", "keeps_quiet"])
def test_writes(planted: Any, plant: str) -> None:
    import writes

    chosen = {name: writes.SCENES[name] for name in ("recipes cp", "a kernel")}
    templates = writes.Templates(planted.lanes[0], chosen)
    with templates:
        planted.lanes[0].plant = plant
        faults = writes._faults(planted, templates, 1)
        found = writes.Outcome("")
        planted.each("writes", faults, lambda lane, _, fault: writes.one(lane, fault, templates, found), found)
    assert len(faults) > 5 and bool(found.failures) == bool(plant)


def test_a_line_that_writes_and_is_never_met_is_found(tmp_path: Path) -> None:
    import sites
    import writes

    (tmp_path / "it.py").write_text(
        "with open('x', 'w') as f:\n    f.read()\na.replace(b)\na.replace(b, c)\nopen('it')\n"
    )
    assert list(map(str, sites.sites(tmp_path))) == ["it.py:1 open", "it.py:3 replace"]
    found = writes.Outcome("")
    writes._demand_all(set(), found)
    assert len(found.failures) == len(sites.sites()) - found.rows["lines that write"]["excused"] > 80
    everything = {(site.file, line) for site in sites.sites() for line in range(site.first, site.last + 1)}
    found = writes.Outcome("")
    writes._demand_all(everything, found)
    assert not found.failures


@pytest.mark.parametrize("plant", ["", "trusts_everybody"])
def test_mutants(planted: Any, plant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import mutants
    from parts import PLAIN
    from scenes import did

    def prepare(lane: Any, folder: Path) -> None:
        lane.plant = ""
        did(lane, folder, "train", *PLAIN, "--bagging", 2, "-o", "bagging")
        lane.plant = plant

    monkeypatch.setattr(mutants, "prepare", prepare)
    kinds = ("bagging.json",) if plant else ("bagging.json", "csv", "zip", "image", "recipe.yaml")
    found = mutants.soak(planted, 8, kinds)
    assert bool(found.failures) == bool(plant)
    assert all(found.rows[kind]["files"] == 8 for kind in kinds)


@pytest.mark.parametrize("plant", ["", "never_locks"])
def test_crowd(planted: Any, plant: str) -> None:
    import crowd

    planted.lanes[0].plant = plant
    found = crowd.soak(planted, 3, ["a run"])
    assert bool(found.failures) == bool(plant), found.failures


def test_the_command_line_and_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    import runpy

    import reliability
    from parts import Outcome

    command = runpy.run_path(str(HERE / "__main__.py"), run_name="soak")
    given = command["parse"](["kills", "--seed", "7"])
    assert (given.parts, given.seed, given.kills) == (["kills"], 7, 100)
    with pytest.raises(SystemExit):
        command["parse"](["kils"])
    outcome = Outcome("a title")
    outcome.count("a run", "kills", "completed", number=3)
    page = reliability.page({"kills": outcome}, ["--seed", "7", "--write"])
    again = reliability.page({"crowd": Outcome("another")}, ["crowd", "--write"], page)
    assert again.startswith(page.rstrip()) and "## Another" in again and 'SOAK="crowd"' in again
    assert reliability.page({"kills": outcome}, ["--seed", "7"], again).count("## A title") == 1
    assert 'make soak SOAK="--seed 7"' in page and "| a run | 3 | 3 |" in page and "## A title" in page
    assert set(command["PARTS"]) == set(reliability.ABOUT)
