"""The corruptions of ImageNet-C and the perturbations of ImageNet-P (Hendrycks and Dietterich 2019) of any image."""
