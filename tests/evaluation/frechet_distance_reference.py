"""frechet_distance_reference.py IN.safetensors: features a and b; prints their Frechet distance.

Another way than the program's: the trace of the root of S_1 S_2 as the sum of the singular values of A B^T / n, where A and B
are the centred features' triangular factors, so that no covariance is ever formed."""
import sys

import numpy
from safetensors.numpy import load_file

features = load_file(sys.argv[1])
a, b = features["a"].astype(numpy.float64), features["b"].astype(numpy.float64)


def factor(x):
    """R with R^T R the covariance of x."""
    return numpy.linalg.qr(x - x.mean(axis=0))[1] / numpy.sqrt(len(x) - 1)


r, s = factor(a), factor(b)
root = numpy.linalg.svd(r @ s.T, compute_uv=False).sum()
distance = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + (r ** 2).sum() + (s ** 2).sum() - 2 * root
assert abs(distance - float(sys.argv[2])) <= 1e-9 * abs(distance), (distance, sys.argv[2])
