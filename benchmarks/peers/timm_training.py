"""timm: the network trained on the labeled images alone, with timm's RMSProp, EMA, RandAugment and label smoothing."""

import sys
from pathlib import Path

from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import RMSpropTF
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3

from benchmarks.peers import networks
from benchmarks.peers.task import Images, Task, accuracy, read, report, timed

RATE = 0.006  # at 50 images


def run(task: Task, images: Images) -> None:
    networks.start(task)
    network = networks.build(task.network)
    optimizer = RMSpropTF(network.parameters(), RATE, alpha=0.9, momentum=0.9, eps=1e-3, weight_decay=1e-5)
    steps, ema, loss_of = task.steps(task.labeled_batch), ModelEmaV3(network, 0.98), LabelSmoothingCrossEntropy(0.1)
    scheduler = CosineLRScheduler(optimizer, steps, warmup_t=min(40, steps // 10), t_in_epochs=False)
    data = networks.Pictures(images["labeled_images"], images["labeled_labels"], networks.strong(task))

    def train() -> None:
        network.train()
        for step, (batch, labels) in enumerate(networks.endless(data, task.labeled_batch, steps, task.seed)):
            scheduler.step_update(step)
            optimizer.zero_grad()
            loss_of(network(batch), labels).backward()
            optimizer.step()
            ema.update(network)

    _, seconds = timed(train)
    report(
        "timm, supervised",
        accuracy(networks.predict(ema.module.eval(), images), images),
        seconds,
        steps * task.labeled_batch,
    )


if __name__ == "__main__":
    run(*read(Path(sys.argv[1])))
