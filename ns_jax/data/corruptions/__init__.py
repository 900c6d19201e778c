"""The corruptions of ImageNet-C and the perturbations of ImageNet-P, made from any image (Hendrycks and Dietterich 2019)."""
