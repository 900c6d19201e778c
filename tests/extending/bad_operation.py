"""An operation that breaks its contract: it returns an image of another size."""


def halves(image, seed, augmentation):
    return image[::2, ::2]
