"""`seedwise compare` on made-up runs: scipy gives the same numbers, seeds are the pairs, other data is refused."""

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Cli
from made_runs import CLASSES, SUPERCLASS_OF, answers_for, make_run, make_study
from numpy.typing import NDArray
from scipy import stats

from seedwise.recipe.schema import Recipe
from seedwise.stats import compare_classes
from seedwise.study.record import Primary, read_study, write_study
from seedwise.study.results import Results

IMAGES = 400
LABELS = np.arange(IMAGES) % 4


def right(rng: np.random.Generator, share: float) -> NDArray[np.bool_]:
    return rng.random(IMAGES) < share


def arm(root: Path, name: str, hits: dict[int, Any], **options: Any) -> Path:
    for seed, one in hits.items():
        logits = answers_for(LABELS, one)
        make_run(root / name / f"seed-{seed}", LABELS, {"val": logits, "test": logits}, seed=seed, **options)
    return root / name


def compared(cli: Cli, *arguments: Any) -> dict[str, Any]:
    answer = cli("compare", *arguments, "--json")
    assert answer.code == 0, answer.err
    found: dict[str, Any] = json.loads(answer.out)
    return found


def holm(ps: list[float]) -> list[float]:
    return [float(p) for p in np.minimum(1, _running(ps))]


def _running(ps: list[float]) -> NDArray[np.float64]:
    order = np.argsort(ps)
    out, highest = np.empty(len(ps)), 0.0
    for place, index in enumerate(order):
        highest = max(highest, ps[index] * (len(ps) - place))
        out[index] = highest
    return out


def brute_flips(differences: NDArray[np.float64]) -> float:
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=len(differences))]
    return float(np.mean(np.array(sums) >= abs(differences.sum()) - 1e-9))


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_pairs_by_seed_agree_with_scipy(cli: Cli, tmp_path: Path, n: int) -> None:
    rng = np.random.default_rng(n)
    hits = {
        name: {seed: right(rng, share) for seed in range(n)} for name, share in (("a", 0.7), ("b", 0.75), ("c", 0.7))
    }
    top1 = {name: np.array([one.mean() for one in of_arm.values()]) for name, of_arm in hits.items()}
    for name, of_arm in hits.items():
        order = of_arm if name == "a" else dict(reversed(of_arm.items()))
        arm(tmp_path, name, order, seconds={"a": 10.0, "b": 20.0, "c": 5.0}[name])
    found = compared(cli, "a", "b", "c", "--margin", "2")
    assert found["base"] == "a" and found["margin"] == 0.02 and list(found["comparisons"]) == ["b", "c"]
    ps = []
    for name in ("b", "c"):
        each, differences = found["comparisons"][name]["test"], top1[name] - top1["a"]
        test = stats.ttest_rel(top1[name], top1["a"])
        ps.append(test.pvalue)
        assert each["kind"] == "paired" and each["n"] == n
        assert each["mean"] == pytest.approx(differences.mean(), abs=1e-12)
        assert each["p_t"] == pytest.approx(test.pvalue, abs=1e-9)
        assert each["ci95"] == pytest.approx(np.clip(test.confidence_interval(0.95), -1, 1), abs=1e-9)
        assert each["p_signflip"] == pytest.approx(brute_flips(differences), abs=1e-9)
        assert each["signflip_floor"] == 2 / 2**n
        se = np.hypot(differences.std(ddof=1), 0.5 / IMAGES) / n**0.5  # half an image of spread is added
        inside = (0.02 - abs(differences.mean())) / se
        assert each["p_equivalence"] == pytest.approx(stats.t.sf(inside, n - 1), abs=1e-9)
        assert found["comparisons"][name]["time"]["ratio"] == pytest.approx({"b": 2.0, "c": 0.5}[name])
        arm_found = found["arms"][name]
        assert arm_found["mean"] == pytest.approx(top1[name].mean()) and arm_found["n"] == n
        interval = stats.t.interval(0.95, n - 1, top1[name].mean(), stats.sem(top1[name]))
        assert arm_found["ci95"] == pytest.approx(np.clip(interval, 0, 1), abs=1e-9)
    corrected = [found["comparisons"][name]["test"]["p_holm"] for name in ("b", "c")]
    assert corrected == pytest.approx(holm(ps), abs=1e-9)


def test_other_seeds_are_compared_as_groups(cli: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one, other = {seed: right(rng, 0.7) for seed in (1, 2, 3)}, {seed: right(rng, 0.8) for seed in (4, 5, 6, 7)}
    arm(tmp_path, "a", one), arm(tmp_path, "b", other)
    each = compared(cli, "a", "b")["comparisons"]["b"]["test"]
    test = stats.ttest_ind([x.mean() for x in other.values()], [x.mean() for x in one.values()], equal_var=False)
    assert each["kind"] == "welch" and each["p_t"] == pytest.approx(test.pvalue, abs=1e-9)
    assert each["ci95"] == pytest.approx(list(test.confidence_interval(0.95)), abs=1e-9)
    assert "compared as two groups" in cli("compare", "a", "b").out


def test_only_seeds_of_both_are_paired(cli: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    arm(tmp_path, "a", {seed: right(rng, 0.7) for seed in range(5)})
    arm(tmp_path, "b", {seed: right(rng, 0.7) for seed in (9, 4, 2, 1)})
    each = compared(cli, "a", "b")["comparisons"]["b"]["test"]
    assert each["kind"] == "paired" and sorted(each["seeds"]) == [1, 2, 4]


def test_two_single_runs_get_mcnemars_test(cli: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    first, second = right(rng, 0.7), right(rng, 0.8)
    arm(tmp_path, "a", {1: first}), arm(tmp_path, "b", {2: second})
    each = compared(cli, "a/seed-1", "b/seed-2")["comparisons"]["seed-2"]["test"]
    better, worse = int((second & ~first).sum()), int((first & ~second).sum())
    assert each["kind"] == "single" and each["verdict"] == "undecided"
    assert each["p_mcnemar"] == pytest.approx(stats.binomtest(better, better + worse).pvalue, abs=1e-9)
    assert "another seed is another network" in cli("compare", "a/seed-1", "b/seed-2").out


def test_a_studys_arms_are_compared_with_its_base_and_words_say_what_was_found(cli: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    base = {seed: right(rng, 0.7) for seed in range(6)}
    worse = {seed: one & (rng.random(IMAGES) < 0.8) for seed, one in base.items()}

    def logits(hits: dict[int, Any]) -> dict[int, Any]:
        return {seed: dict.fromkeys(("val", "test"), answers_for(LABELS, one)) for seed, one in hits.items()}

    make_study(tmp_path / "study", LABELS, {"no-cutmix": logits(worse), "base": logits(base), "same": logits(base)})
    found = compared(cli, "study")
    assert found["base"] == "study:base" and list(found["comparisons"]) == ["study:no-cutmix", "study:same"]
    assert found["comparisons"]["study:no-cutmix"]["test"]["verdict"] == "hurts"
    out = cli("compare", "study").out
    assert "study:no-cutmix: hurts: −1" in out and "sign flip" in out
    assert "0.0312 ≥ 0.031" in out  # the sign-flip test and the least it can say with six seeds
    other = arm(tmp_path, "other", base)
    assert list(compared(cli, other, "study")["comparisons"]) == ["study:base", "study:no-cutmix", "study:same"]


@pytest.mark.parametrize("weights", ["averaged", "raw"])
def test_an_average_is_judged_by_its_own_answers_as_its_study_does(weights: Any, cli: Cli, tmp_path: Path) -> None:
    """A study begun before averages were judged goes on as it was."""
    rng = np.random.default_rng(5)
    base = {seed: right(rng, 0.7) for seed in range(6)}
    better = {seed: one | (rng.random(IMAGES) < 0.2) for seed, one in base.items()}
    plain = {seed: dict.fromkeys(("val", "test"), answers_for(LABELS, one)) for seed, one in base.items()}
    averaged = {seed: dict.fromkeys(("val_ema", "test_ema"), answers_for(LABELS, one)) for seed, one in better.items()}
    study = make_study(tmp_path / "study", LABELS, {"base": plain, "ema": {s: plain[s] | averaged[s] for s in plain}})
    record = read_study(study).model_copy(update={"margin": 0.005, "primary": Primary(weights=weights)})
    results = Results(study)
    record = results.look(results.refresh(record))
    write_study(study, record)
    of_study = record.comparisons["ema"]["test"]
    assert of_study["verdict"] == ("helps" if weights == "averaged" else "no difference that matters")
    found = compared(cli, study)
    assert found["comparisons"]["study:ema"]["test"]["mean"] == of_study["mean"]
    assert found["arms"]["study:ema"]["weights"] == weights and found["arms"]["study:base"]["weights"] == "raw"
    assert ("by their averaged weights: study:ema" in cli("compare", study).out) == (weights == "averaged")
    alone = compared(cli, study / "runs/base", study / "runs/ema")["comparisons"]["ema"]["test"]
    expected = np.mean([better[seed].mean() - base[seed].mean() for seed in base])
    assert alone["mean"] == pytest.approx(expected)


def test_a_class_that_suffers_is_named_and_so_is_its_superclass(cli: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    base = {seed: right(rng, 0.9) for seed in range(6)}
    fish = np.asarray(SUPERCLASS_OF)[LABELS] == 0
    hurt = {seed: one & ~(fish & (rng.random(IMAGES) < 0.5)) for seed, one in base.items()}
    arm(tmp_path, "a", base), arm(tmp_path, "b", hurt)
    found = compared(cli, "a", "b", "--classes")["comparisons"]["b"]
    expected = [row.to_json() for row in compare_classes(hurt, base, LABELS, CLASSES, size=7)]
    assert found["classes"] == expected
    assert {row["name"] for row in found["classes"] if row["verdict"] == "worse"} == {"cod", "trout"}
    assert {row["name"] for row in found["superclasses"] if row["verdict"] == "worse"} == {"fish"}
    assert "fish: worse, −" in cli("compare", "a", "b", "--classes").out


def test_a_study_is_compared_as_the_family_that_was_planned_and_runs_that_are_gone_are_named(
    cli: Cli, tmp_path: Path
) -> None:
    rng = np.random.default_rng(8)
    arms = {
        name: {seed: dict.fromkeys(("val", "test"), answers_for(LABELS, right(rng, share))) for seed in range(4)}
        for name, share in (("base", 0.7), ("b", 0.75), ("c", 0.7))
    }
    make_study(tmp_path / "study", LABELS, arms)
    shutil.rmtree("study/runs/b/seed-3")
    each = compared(cli, "study")["comparisons"]["study:b"]["test"]
    assert each["n"] == 3 and each["alpha"] == 0.025
    answer = cli("compare", "study")
    assert answer.err == "left out, gone: study/runs/b/seed-3\n"
    assert answer.out.endswith(
        "corrected for 2 comparisons (Holm); a difference is real where p is below 0.025, the level of this look "
        "(intervals of 97.5%); the margin is ±0.5\n"
    )
    shutil.rmtree("study/runs/c")
    found = compared(cli, "study")
    assert list(found["comparisons"]) == ["study:b"] and found["family"] == 2
    alone = found["comparisons"]["study:b"]["test"]
    assert alone["p_holm"] == pytest.approx(min(1, 2 * alone["p_t"]))


def test_what_cannot_be_compared_is_refused_in_one_line(cli: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    hits = {seed: right(rng, 0.7) for seed in (1, 2)}
    arm(tmp_path, "a", hits), arm(tmp_path, "b", hits)
    arm(tmp_path, "data", hits, fingerprint="0" * 64)
    arm(tmp_path, "names", hits, classes=["ape", "bee", "cow", "dog"])
    arm(tmp_path, "split", hits, ids={"test": np.arange(IMAGES) + 1})
    arm(tmp_path, "stopped", {3: hits[1]}, status="interrupted")
    arm(tmp_path, "mixed", {1: hits[1]})
    arm(tmp_path, "mixed", {2: hits[2]}, recipe=Recipe.model_validate({"optim": {"lr": 0.5}}))
    arm(tmp_path, "twice/x", {1: hits[1]}), arm(tmp_path, "twice/y", {1: hits[2]})
    make_run(tmp_path / "no test/seed-1", LABELS, {"val": answers_for(LABELS, hits[1])}, seed=1)
    (tmp_path / "empty").mkdir()
    damaged = arm(tmp_path, "damaged", hits) / "seed-1/predictions.npz"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    for given, said in (
        (["a"], "a: holds one arm (a); give another"),
        (["a", "nowhere"], "nowhere: no such folder"),
        (["a", "a"], "a: is given twice"),
        (["a", "empty"], "empty: holds no run"),
        (["a", "data"], "were trained on other data"),
        (["a", "names"], "have other classes"),
        (["a", "split"], "were scored on other test images"),
        (["a", "stopped"], "stopped: none of its 1 runs is finished; `seedwise resume` them"),
        (["a", "stopped/seed-3"], "not finished (status: interrupted)"),
        (["a", "mixed"], "optim.lr: 0.0004 -> 0.5); give the folder of each recipe"),
        (["a", "twice"], "holds two runs with seed 1"),
        (["a", "no test"], "no answers on 'test' images"),
        (["a", "damaged"], "damaged/seed-1/predictions.npz: damaged, its checksum"),
        (["a", "b", "--split", "train"], "--split train: give test or val"),
        (["a", "b", "--margin", 0], "--margin 0: give points"),
    ):
        answer = cli("compare", *given)
        assert answer.code == 2 and said in answer.line, answer
    assert cli("compare", "no test", "a", "--split", "val").code == 0
    arm(tmp_path, "larger", hits, fingerprint="f" * 63 + "0")  # the same place, stored at another size
    assert cli("compare", "a", "larger").code == 0


def test_unfinished_runs_of_a_folder_are_left_out_and_named(cli: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    hits = {seed: right(rng, 0.7) for seed in (1, 2, 3)}
    arm(tmp_path, "a", hits), arm(tmp_path, "b", {1: hits[1], 2: hits[2]})
    arm(tmp_path, "b", {3: hits[3]}, status="failed")
    answer = cli("compare", "a", "b")
    assert answer.code == 0 and answer.err == "left out, not finished: b/seed-3\n"
    shutil.rmtree("b/seed-3")
    assert cli("compare", "a", "b").err == ""


def test_it_never_imports_torch(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    for name in "ab":
        arm(tmp_path, name, {seed: right(rng, 0.7) for seed in (1, 2)})
    script = (
        "import sys\nfrom seedwise.cli import main\ntry:\n    main()\nexcept SystemExit as stop:\n"
        "    assert not stop.code\nassert not {'torch', 'timm', 'matplotlib', 'sklearn'} & set(sys.modules)"
    )
    for verb in (["compare", "a", "b", "--classes"], ["ensemble", "a", "-o", "together"]):
        subprocess.run([sys.executable, "-c", script, *verb], check=True, stdout=subprocess.DEVNULL)


def test_two_arms_taken_out_of_a_study_are_judged_by_its_plan(cli: Cli, tmp_path: Path) -> None:
    """Its margin, the family of all its arms, and the level of its look: the same p as in the study itself."""
    rng = np.random.default_rng(5)
    hits = {
        arm: {seed: right(rng, share) for seed in range(6)} for arm, share in (("base", 0.7), ("a", 0.74), ("b", 0.7))
    }
    made = {
        arm: {s: {"val": (it := answers_for(LABELS, one)), "test": it} for s, one in of.items()}
        for arm, of in hits.items()
    }
    folder = make_study(tmp_path / "study", LABELS, made)
    results, planned = Results(folder), read_study(folder).model_copy(update={"margin": 0.02})
    write_study(folder, results.look(results.refresh(planned)))
    study, out = compared(cli, folder), compared(cli, folder / "runs" / "base", folder / "runs" / "a")
    (inside,) = (each["test"] for name, each in study["comparisons"].items() if name.endswith("a"))
    (outside,) = (each["test"] for each in out["comparisons"].values())
    assert (out["family"], out["margin"]) == (2, 0.02) and outside["alpha"] == inside["alpha"] == 0.025
    assert outside["p_holm"] == min(1.0, 2 * outside["p_t"]) and outside["p_t"] == inside["p_t"]
    said = cli("compare", folder / "runs" / "base", folder / "runs" / "a", "--margin", 1).out
    assert "the study fixed ±2 before its first trial: this margin is another" in said
