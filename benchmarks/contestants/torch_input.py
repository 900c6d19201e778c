"""torchvision's or timm's training transforms (Pillow) over a folder of JPEGs, a process a core."""

import sys
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.contest import serve

BATCH_SIZE = 32


class Folder(Dataset):
    """The images of a folder, again and again, transformed."""

    def __init__(self, folder: str, transform: Callable):
        self.paths, self.transform = sorted(Path(folder).iterdir()), transform

    def __len__(self) -> int:
        return 1_000_000 * len(self.paths)

    def __getitem__(self, index: int):
        return self.transform(PIL.Image.open(self.paths[index % len(self.paths)]).convert("RGB"))


def make_transform(name: str) -> Callable:
    """Returns the transform of a Pillow image for 'timm' or 'torchvision'."""
    if name == "timm":
        from timm.data import create_transform

        return create_transform(
            224, is_training=True, auto_augment="rand-m9-n2", interpolation="bicubic", color_jitter=None
        )
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomResizedCrop(224, interpolation=v2.InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(),
            v2.RandAugment(2, 9),
            v2.PILToTensor(),
        ]
    )


def make_work(folder: str, name: str, threads: int, batch_size: int = BATCH_SIZE) -> Callable[[], object]:
    """Returns a function that reads as many images as the folder holds and gives the last batch."""
    dataset = Folder(folder, make_transform(name))
    batches = len(dataset.paths) // batch_size
    loader = iter(DataLoader(dataset, batch_size, num_workers=threads if threads > 1 else 0))

    def read() -> torch.Tensor:
        for _ in range(batches):
            batch = next(loader)
        return batch

    return read


def main(folder: str, name: str, threads: int) -> None:
    torch.set_num_threads(threads)
    serve(make_work(folder, name, threads))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
