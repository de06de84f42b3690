from typing import Any

import pytest
from pydantic import ValidationError

from seedwise.data.config import DataConfig


@pytest.mark.parametrize("share", [0, 0.0, 0.1, 1, 5000, 0.999])
def test_fractions_and_counts_keep_their_type(share: float | int) -> None:
    config = DataConfig(val=share, test=share)
    assert config.val == share and type(config.val) is type(share)
    assert config.test == share and type(config.test) is type(share)


@pytest.mark.parametrize("share", [-1, -0.1, 1.0, 1.5, 5000.0, "a tenth", True, None, [1], float("nan")])
def test_other_shares_get_one_message_at_the_field(share: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        DataConfig(val=share)
    (error,) = caught.value.errors()
    assert error["loc"] == ("val",)
    assert "fraction in [0, 1)" in error["msg"] and "whole number" in error["msg"]


def test_every_field_is_described_in_the_schema() -> None:
    properties = DataConfig.model_json_schema()["properties"]
    options = {"val", "test", "split_seed", "limit", "bootstrap", "download", "image_column", "label_column", "factory"}
    options |= {
        "split_column",
        "image_folder",
        "image_suffix",
        "class_level",
        "min_per_class",
        "pixel_range",
        "join_spellings",
        "skip_damaged",
        "fold",
        "storage",
        "order",
        "workers",
    }
    assert set(properties) == options
    assert all(field["description"] for field in properties.values())


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": 1}, {"limit": -3}, {"split_seed": -1}, {"vall": 1}])
def test_out_of_range_and_unknown_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        DataConfig(**options)


def test_the_test_part_can_be_left_out_by_name() -> None:
    assert DataConfig(test="none").test == "none"
    with pytest.raises(ValidationError, match="fraction in"):
        DataConfig(val="none")


@pytest.mark.parametrize("given", [[0, 4095], (0.0, 1.0), [-1024, 3071]])
def test_a_pixel_range_is_black_and_white(given: list[int] | tuple[float, float]) -> None:
    assert DataConfig(pixel_range=given).pixel_range == tuple(given)


@pytest.mark.parametrize("given", [[1, 0], [0], 4095, [0, float("nan")], [0, True], "0-1", [0, 0]])
def test_other_pixel_ranges_get_one_message(given: int | list[Any] | str) -> None:
    with pytest.raises(ValidationError) as caught:
        DataConfig(pixel_range=given)
    (error,) = caught.value.errors()
    assert error["loc"] == ("pixel_range",) and "what is black and what is white" in error["msg"]


@pytest.mark.parametrize("fold", [[0, 5], [6, 5], [1, 1], [1], 3, [1.0, 5]])
def test_a_fold_is_one_of_so_many(fold: int | list[Any]) -> None:
    assert DataConfig(fold=(5, 5)).fold == (5, 5)
    with pytest.raises(ValidationError, match="which part is left out"):
        DataConfig(fold=fold)
    with pytest.raises(ValidationError, match="not with data"):
        DataConfig(fold=(1, 5), bootstrap=True)
