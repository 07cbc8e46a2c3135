"""From a trained network to integers: folding, quantisation, and the proof in torch."""
