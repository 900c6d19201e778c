"""torchvision's or timm's training transforms (Pillow) over a folder of JPEGs, a process a core."""

import sys
from pathlib import Path

import PIL.Image
import torch
from timm.data import create_transform
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.contest import serve

BATCH = 32


class Folder(Dataset):
    """The images of a folder, again and again, transformed."""

    def __init__(self, folder: str, transform):
        self.paths, self.transform = sorted(Path(folder).iterdir()), transform

    def __len__(self) -> int:
        return 1_000_000 * len(self.paths)

    def __getitem__(self, index: int):
        return self.transform(PIL.Image.open(self.paths[index % len(self.paths)]).convert("RGB"))


def make_transform(name: str):
    if name == "timm":
        return create_transform(
            224, is_training=True, auto_augment="rand-m9-n2", interpolation="bicubic", color_jitter=None
        )
    return v2.Compose(
        [
            v2.RandomResizedCrop(224, interpolation=v2.InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(),
            v2.RandAugment(2, 9),
            v2.PILToTensor(),
        ]
    )


def main(folder: str, name: str, threads: int) -> None:
    torch.set_num_threads(threads)
    dataset = Folder(folder, make_transform(name))
    count = len(dataset.paths)
    loader = iter(DataLoader(dataset, BATCH, num_workers=threads if threads > 1 else 0))

    def work() -> None:
        for _ in range(count // BATCH):
            next(loader)

    serve(work)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
