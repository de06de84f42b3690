"""Types of options that several techniques share."""

from typing import Annotated, Literal

from pydantic import Field

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Strength = Annotated[float, Field(ge=0)]

Interpolation = Literal["nearest", "bilinear", "bicubic"]
Sampling = Literal["nearest", "bilinear"]
