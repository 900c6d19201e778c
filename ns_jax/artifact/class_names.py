"""The classes of ImageNet-1k: WordNet ids, in the order of the logits, and what they mean."""

import functools
from pathlib import Path


@functools.cache
def _table() -> dict[str, str]:
    """{WordNet id: its words}, from WordNet 3.0."""
    lines = (Path(__file__).parent / "imagenet_classes.txt").read_text().splitlines()
    return dict(line.split(" ", 1) for line in lines)


def wordnet_ids() -> list[str]:
    """The 1000 ids. They are also the class names of TFDS's imagenet2012 and of the original's folders."""
    return list(_table())


def default_class_names(num_classes: int) -> list[str]:
    """ImageNet's WordNet ids where there are 1000 classes, else the numbers."""
    return wordnet_ids() if num_classes == 1000 else [str(index) for index in range(num_classes)]


def readable_name(class_name: str) -> str:
    """'n01440764' to 'tench, Tinca tinca'; any other name as it is."""
    return _table().get(class_name, class_name)
