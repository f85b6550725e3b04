"""From a network and a case to probabilities on the case's own grid, and to the files that keep them."""
