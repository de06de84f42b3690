"""A torchvision that was built for another torch: a line that says so, not a traceback from deep inside."""

import pytest

from seedwise.cli import main


@pytest.mark.parametrize(("words", "is_said"), [("operator torchvision::nms does not exist", True), ("else", False)])
def test_it_is_said_in_a_line(
    words: str, is_said: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> int:
        raise RuntimeError(words)

    monkeypatch.setattr("seedwise.cli.app.run", fails)
    monkeypatch.setattr("sys.argv", ["seedwise", "train", "digits"])
    if not is_said:
        with pytest.raises(RuntimeError, match=words):
            main()
        return
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1 and words in said and "install both anew" in said
