"""Evaluation at another size than training (train.eval_image_size): every place that scores or predicts keeps to it."""

import json
from pathlib import Path

import numpy as np
from command_line import LEAN, Cli
from scipy.special import log_softmax

import seedwise

LARGER = "train.eval_image_size=24"


def test_a_larger_evaluation_leaves_the_weights_and_is_what_views_of_that_size_give(cli: Cli) -> None:
    """Test-time augmentation of the plain run by one view of 24 px computes the same by another path."""
    one_view = ("-s", "tta={flip: false, image_size: 24}")
    assert cli("train", *LEAN, *one_view, "-o", "plain").code == 0
    assert cli("train", *LEAN, "-s", LARGER, "-o", "larger").code == 0
    plain, larger = seedwise.load("plain"), seedwise.load("larger")
    for ours, theirs in zip(larger.model.state_dict().values(), plain.model.state_dict().values(), strict=True):
        assert (ours == theirs).all()
    for split in ("val", "test"):
        ids, _, logits = larger.logits(split)
        view_ids, _, view = plain.logits(f"{split}_tta")
        assert np.array_equal(ids, view_ids)
        np.testing.assert_allclose(log_softmax(logits, axis=1), view, atol=1e-5)
        assert not np.allclose(logits, plain.logits(split)[2], atol=1e-3)
    record = json.loads(Path("larger/record.json").read_text())
    assert record["techniques"]["eval_image_size"] == {"trained": 16.0, "evaluated": 24.0} and not record["inert"]


def test_evaluate_predict_and_timm_read_the_size_of_evaluation(cli: Cli) -> None:
    assert cli("train", *LEAN, "-s", LARGER, "-o", "larger").code == 0
    assert json.loads(cli("evaluate", "larger", "--json").out)["agrees"] is True
    config = json.loads(Path("larger/config.json").read_text())["pretrained_cfg"]
    assert config["input_size"] == [3, 24, 24] and config["crop_pct"] == 1.0
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    assert seedwise.load("larger").explain(image).shape == (24, 24, 3)


def test_the_training_size_again_is_said_to_do_nothing(cli: Cli) -> None:
    answer = cli("train", *LEAN, "-s", "train.eval_image_size=16", "-o", "same")
    assert answer.code == 3 and "eval_image_size" in answer.out + answer.err
