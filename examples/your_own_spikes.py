"""Your own spikes: a recording as SpikingJelly and snnTorch give it, on a network that you state.

python examples/your_own_spikes.py
"""

import numpy as np

import evenspike as es

# [T, C, H, W] of 0 and 1, for each layer the spikes that come in; here they are drawn.
rng = np.random.default_rng(0)
spikes = {
    "conv2_in": (rng.random((4, 16, 16, 16)) < 0.15).astype(np.float32),
    "conv3_in": (rng.random((4, 32, 16, 16)) < 0.10).astype(np.float32),
}

workload = es.trace(spikes, density=5, seed=1)
print(workload)

for text in ("packed", "packed,pes=8", "paper"):
    run = es.explore(workload, text)
    print(f"{text:12} {run.cycles:8,.0f} cycles, utilization {run.utilization:.2f}")

# As many weights in each filter of a group, as u-Ticket prunes. It evens out weights, not the
# spikes that meet them: what that gives in cycles depends on the network, and a run tells.
balanced = es.explore(es.trace(spikes, density=5, balanced=True, seed=1), "paper")
print(f"{'balanced':12} {balanced.cycles:8,.0f} cycles, utilization {balanced.utilization:.2f}")
