"""Fashion-MNIST through TensorFlow Datasets: 1,000 labeled images, 59,000 unlabeled.

  python -m ns_jax.main --config=configs/fashion_mnist.py --workdir=DIR

Hardware: one GPU, or CPU cores and an hour or two. The paper has no such experiment. TFDS downloads
the four files, or takes those that Debian's package dataset-fashion-mnist installs:

  python -m ns_jax.data.import_fashion_mnist --data_dir=DATA
  python -m ns_jax.main --config=configs/fashion_mnist.py --workdir=DIR --config.data.dir=DATA
"""

from ns_jax.configs import common


def get_config():
    c = common.get_config()
    c.variant = "efficientnet-small"
    c.dtype = "float32"
    c.data.labeled = "tfds:fashion_mnist/train[:1000]"
    c.data.unlabeled = "tfds:fashion_mnist/train[1000:]"
    c.data.test = "tfds:fashion_mnist/test"

    c.augment = ("pad4", "flip", "randaugment")
    c.noise.randaugment_magnitude = 5.0
    c.labeled_batch_size = 50
    c.unlabeled_ratio = 4
    c.train_epochs = 200.0
    c.base_learning_rate = 0.03
    c.decay_epochs = 5.0
    c.ema_decay = 0.999
    c.images_per_class = 5900
    c.eval_batch_size = 1000
    c.checkpoint_every_steps = 200

    common.chain(c, students=2)
    return c
