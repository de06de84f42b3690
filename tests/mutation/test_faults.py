"""The list of faults can't rot: each text that is replaced stands in src, and what has to notice it in tests."""

import pytest
from fault import ROOT, Fault
from faults import FAULTS


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_its_text_is_there_once_and_its_tests_too(fault: Fault) -> None:
    assert fault.new not in (fault.old, *(other.new for other in FAULTS if other is not fault and other.new))
    compile(fault.text(), fault.file, "exec")
    for test in fault.tests.split():
        file, _, name = test.partition("::")
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert f"def {name}" in text


def test_no_two_are_the_same() -> None:
    assert len({(fault.file, fault.old) for fault in FAULTS}) == len({fault.name for fault in FAULTS}) == len(FAULTS)
