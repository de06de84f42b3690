"""A folder of images; docs/data.md has the layouts."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from seedwise.data import layout
from seedwise.data.classfolders import Laid, contents
from seedwise.data.config import DataConfig
from seedwise.data.located import whole_files
from seedwise.data.source import Contents, PassedOver, RawImage, file_stamp
from seedwise.data.tree import Tree, list_folder


@dataclass(frozen=True)
class FolderSource:
    """A folder of images; class names are folder names, and folders may nest below a class."""

    name: str
    path: Path
    config: DataConfig

    @cached_property
    def _laid(self) -> Laid:
        return layout.understand(self.tree, self.path, self.config)

    @cached_property
    def tree(self) -> Tree:
        """The listing of the folder."""
        return list_folder(self.path)

    @property
    def passed_over(self) -> tuple[PassedOver, ...]:
        """What lies in the folder now and is not used."""
        return self._laid.survey.passed_over

    def stamp(self) -> list[str]:
        """Path, size and time of every image file."""
        parts = self._laid.parts.values()
        return [file_stamp(f"{self.path}/{file}") for part in parts for files in part.values() for file in files]

    def read(self) -> Contents:
        """Read classes from the training part, and the image files of every part."""

        def images(files: list[str]) -> Iterator[RawImage]:
            return (RawImage(f"{self.path}/{file}", self.path / file) for file in files)

        return contents(
            self._laid, self.path, images, partial(whole_files, str(self.path)), join=self.config.join_spellings
        )
