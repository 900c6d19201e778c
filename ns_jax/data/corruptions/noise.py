"""Noise: Gaussian, shot, impulse. NumPy; images are float64 [H, W, 3] in [0, 1]."""

import numpy as np


def gaussian_noise(image: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    """Adds normal noise of standard deviation `sigma` to every value."""
    return image + random.normal(scale=sigma, size=image.shape)


def shot_noise(image: np.ndarray, photons: float, random: np.random.Generator) -> np.ndarray:
    """Counts photons: a value becomes a Poisson draw of mean value * photons, over photons."""
    return random.poisson(image * photons) / photons


def impulse_noise(image: np.ndarray, amount: float, random: np.random.Generator) -> np.ndarray:
    """Replaces a share of the values, each channel for itself, by 0 or 1 (salt and pepper)."""
    is_hit, is_salt = random.random(image.shape) <= amount, random.random(image.shape) <= 0.5
    return np.where(is_hit, np.where(is_salt, 1.0, 0.0), image)
