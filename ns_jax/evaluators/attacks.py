"""Adversarial images of a model: FGSM and PGD, on the pixels that the network's own preparation gets.

FGSM: Goodfellow et al. 2015, one step of epsilon along the sign of the gradient. PGD: Madry et al. 2018, steps that are
projected back. Pixels and epsilon are on 0..255; the gradient goes through the network's normalisation.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ns_jax.data.sources.base import Source
from ns_jax.errors import UserError
from ns_jax.evaluators.classification import labels_among
from ns_jax.evaluators.parts import Parts
from ns_jax.inference.predictor import Predictor
from ns_jax.models import apply
from ns_jax.models.base import ImageInputs, Network
from ns_jax.parallel.hosts import sum_over_hosts
from ns_jax.parallel.mesh import batch_sharding, replicated

LARGEST = 255.0


@dataclasses.dataclass(frozen=True)
class Attack:
    """How images are attacked.

    Attributes:
      steps: how often the gradient is followed.
      step_size: of a step, as a share of epsilon.
      random_start: whether it begins anywhere in the ball instead of at the image.
      restarts: how often it begins anew; an image counts as right where the model withstands all of them.
      seed: of the random starts, which are drawn by an image's index.
    """

    steps: int = 1
    step_size: float = 1.0
    random_start: bool = False
    restarts: int = 1
    seed: int = 0


def bounds(images: jax.Array, epsilon: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The lowest and the highest value that each pixel may have.

    Within epsilon of the image and within 0..255; a pixel that lies outside already, as the bicubic resize makes some,
    may stay where it is.
    """
    low = jnp.maximum(images - epsilon, jnp.minimum(images, 0.0))
    high = jnp.minimum(images + epsilon, jnp.maximum(images, LARGEST))
    return low, high


def gradient_sign(network: Network, variables, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Sign of the gradient of the cross-entropy with the labels: float32 [N, H, W, 3]."""

    def loss(images):
        logits = apply.logits(network, variables, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).sum()

    return jnp.sign(jax.grad(loss)(images))


def random_points(low: jax.Array, high: jax.Array, ids: jax.Array, key: jax.Array) -> jax.Array:
    """Uniform points between bounds [N, H, W, 3], of each image by its id."""

    def draw(number):
        return jax.random.uniform(jax.random.fold_in(key, number), low.shape[1:])

    return low + (high - low) * jax.vmap(draw)(ids)


def attacked(network: Network, attack: Attack, variables, images, labels, ids, epsilon, restart=0) -> jax.Array:
    """Adversarial images.

    Args:
      network: built for its dtype.
      attack: see `Attack`.
      variables: as the network's module takes them.
      images: float32 [N, H, W, 3] on 0..255.
      labels: int32 [N].
      ids: int32 [N], by which random starts are drawn.
      epsilon: float32 scalar, the largest change of a pixel.
      restart: int32 scalar, number of the restart.

    Returns:
      float32 [N, H, W, 3].
    """
    low, high = bounds(images, epsilon)
    start = images
    if attack.random_start:
        key = jax.random.fold_in(jax.random.key(attack.seed), restart)
        start = random_points(low, high, ids, key)
    size = jnp.float32(attack.step_size) * epsilon

    def step(_, points):
        return jnp.clip(points + size * gradient_sign(network, variables, points, labels), low, high)

    return jax.lax.fori_loop(0, attack.steps, step, start)


def make_attack(network: Network, attack: Attack, mesh, place_of_label: np.ndarray) -> Callable:
    """Program for `Predictor.run`, after epsilon, the largest change of a pixel on 0..255, as its first argument.

    It gives 1 where the model is right in spite of the attack, else 0: int32 [N].

    Args:
      network: of the predictor.
      attack: see `Attack`.
      mesh: the devices.
      place_of_label: int [classes of the source], their places among the model's.
    """
    places = np.asarray(place_of_label, np.int32)

    def withstands(variables, images, labels, ids, epsilon, restart):
        images = attacked(network, attack, variables, images, labels, ids, epsilon, restart)
        probs = apply.probabilities(network, variables, images)
        of_label = jnp.take_along_axis(probs, labels[:, None], axis=1)
        # As in evaluators/classification.py: a label that ties with others ranks behind them.
        return (~(probs < of_label)).sum(1) <= 1

    def program(epsilon, variables, images, labels, ids):
        labels = jnp.asarray(places)[labels]

        def again(restart, right):
            return right & withstands(variables, images, labels, ids, epsilon, restart)

        right = jax.lax.fori_loop(0, attack.restarts, again, jnp.ones(labels.shape, bool))
        return right.astype(jnp.int32)

    split, whole = batch_sharding(mesh), replicated(mesh)
    return jax.jit(program, in_shardings=(whole, whole, split, split, split), out_shardings=split)


def evaluate_attack(
    predictor: Predictor, source: Source, indices: np.ndarray, attack: Attack, epsilons, parts: Parts
) -> dict:
    """Attacks every example once at each epsilon, and at 0, which is no attack.

    Returns:
      {count, epsilons, correct_at [E], top1_at {epsilon: accuracy}, and the same as numbers, as epsilon_2}.

    Raises:
      UserError: the model takes no images, or lacks a class of the source.
    """
    if not isinstance(predictor.network.inputs, ImageInputs):
        raise UserError(f"the model {predictor.name} takes arrays, and this evaluation is of images")
    place_of_label = labels_among(source, predictor.class_names)
    strengths = [0.0, *sorted({float(epsilon) for epsilon in epsilons} - {0.0})]
    program = make_attack(predictor.network, attack, predictor.mesh, place_of_label)

    def count_right(epsilon: float) -> dict:
        counts = np.zeros(2, np.int64)
        at_epsilon = functools.partial(program, np.float32(epsilon))
        for right, _, _ in predictor.every_example(source, indices, at_epsilon):
            counts += [len(right), right.sum()]
        count, right = sum_over_hosts(counts).tolist()
        if count != len(indices):
            raise RuntimeError(f"{count} of {len(indices)} examples were attacked")
        return {"epsilon": epsilon, "count": count, "correct": right}

    correct = []
    for epsilon in strengths:
        part = parts.get(f"epsilon_{epsilon:g}", functools.partial(count_right, epsilon))
        correct.append(part["correct"])
    count = len(indices)
    at = {f"{epsilon:g}": right / count for epsilon, right in zip(strengths, correct, strict=True)}
    numbers = {f"epsilon_{epsilon}": accuracy for epsilon, accuracy in at.items()}
    return {"count": count, "epsilons": strengths, "correct_at": correct, "top1_at": at, **numbers}
