"""Noisy Student Training in JAX. `ns_jax.load` opens a trained model."""


def load(path_or_name, variant=None, **options):
    """Opens a model, whoever trained it: see `ns_jax.inference.model.load`."""
    from ns_jax.inference.model import load as load_model  # here, so that `import ns_jax` stays light

    return load_model(path_or_name, variant, **options)
