"""Read a report's numbers into a table, and plot them.

    python examples/read_a_report.py

pandas and matplotlib are no dependencies of evenspike: pip install pandas matplotlib.
"""

import json
from pathlib import Path

import evenspike as es

run = es.simulate(es.pack(es.load("vgg16-small")), es.images(5))
folder = Path("build/examples/report")
run.report().save(folder)

# Every number of the pages is in the JSON; docs/report.md says what each of them is.
report = json.loads((folder / "report.json").read_text())
print(report["totals"]["cycles"], "cycles an image;", report["totals"]["utilization"], "busy")

try:
    import matplotlib as mpl
    import pandas as pd
except ModuleNotFoundError as missing:
    print(f"for the table and the plot: pip install {missing.name}")
else:
    mpl.use("Agg")
    layers = pd.DataFrame(report["layers"]).set_index("name")
    assert layers["cycles"].equals(run.to_frame()["cycles"])
    states = layers[["busy", "starved", "waiting", "loading", "draining"]]
    print(layers[["cycles", "utilization", "energy_pj"]])
    plot = states.div(states.sum(axis=1), axis=0).plot.barh(stacked=True)
    plot.set_xlabel("share of the PEs' cycles")
    plot.figure.savefig(folder / "states.png", bbox_inches="tight")
    print("written:", folder / "states.png")
