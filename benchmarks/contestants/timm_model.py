"""timm's EfficientNet in PyTorch, channels last, with timm's own RMSProp and EMA."""

import sys

import numpy as np
import timm
import torch
from timm.models import efficientnet as efficientnet_models
from timm.models._efficientnet_builder import decode_arch_def
from timm.optim import RMSpropTF
from timm.utils import ModelEmaV3

from benchmarks.contest import serve
from ns_jax.models.variants import get_variant


def build(name: str, classes: int, mode: str):
    """The model of a row: by name where timm has it, else built from the row by timm's builder."""
    rates = {"drop_rate": 0.2, "drop_path_rate": 0.2} if mode == "training" else {}
    row = get_variant(name)
    if row.resolution >= 224:
        return timm.create_model(name.replace("-", "_"), num_classes=classes, **rates)
    blocks = [
        [f"{'ds' if s.expand == 1 else 'ir'}_r{s.repeats}_k{s.kernel}_s{s.stride}_e{s.expand}_c{s.filters}_se0.25"]
        for s in row.stages
    ]
    return efficientnet_models.EfficientNet(
        decode_arch_def(blocks),
        num_classes=classes,
        num_features=row.head_filters,
        stem_size=row.stem_filters,
        act_layer=torch.nn.SiLU,
        **rates,
    )


def main(mode: str, name: str, batch_size: int, threads: int) -> None:
    torch.set_num_threads(threads)
    size = get_variant(name).resolution
    classes = 1000 if size > 32 else 10
    model = build(name, classes, mode).to(memory_format=torch.channels_last)
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.normal(size=(batch_size, 3, size, size)).astype(np.float32))
    images = images.to(memory_format=torch.channels_last)
    labels = torch.from_numpy(rng.integers(0, classes, batch_size))
    if mode == "inference":
        model.eval()

        def work() -> None:
            with torch.inference_mode():
                model(images).softmax(-1).numpy()

    else:
        model.train()
        optimizer = RMSpropTF(model.parameters(), lr=0.001, alpha=0.9, momentum=0.9, eps=1e-3, weight_decay=1e-5)
        ema = ModelEmaV3(model, decay=0.9999)
        loss_fn = torch.nn.CrossEntropyLoss(label_smoothing=0.1)

        def work() -> None:
            loss = loss_fn(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ema.update(model)

    serve(work)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
