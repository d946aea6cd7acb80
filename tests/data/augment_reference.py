"""augment_reference.py PARAMETERS MATRICES: source_matrices in numpy, composed from the definition.

PARAMETERS has a line of the eight fields of AugmentParameters for each image, MATRICES gets a line of six.
"""
import sys

import numpy as np


def rotation(angle):
    """Counter-clockwise as seen with y down."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])


lines = []
for x_flip, y_flip, scale, angle, stretch, direction, shift_x, shift_y in np.loadtxt(sys.argv[1], ndmin=2):
    G = np.eye(3)
    G = np.diag([1 - 2 * x_flip, 1, 1]) @ G
    G = np.diag([1, 1 - 2 * y_flip, 1]) @ G
    G = np.diag([2 ** (0.2 * scale), 2 ** (0.2 * scale), 1]) @ G
    G = rotation(angle) @ G
    G = rotation(direction) @ np.diag([2 ** (0.2 * stretch), 2 ** (-0.2 * stretch), 1]) @ rotation(-direction) @ G
    G = np.array([[1, 0, shift_x / 8], [0, 1, shift_y / 8], [0, 0, 1]]) @ G
    to_half_sides = np.diag([2, 2, 1])
    lines.append((to_half_sides @ np.linalg.inv(G) @ np.linalg.inv(to_half_sides))[:2].ravel())
np.savetxt(sys.argv[2], lines, fmt="%.17g")
