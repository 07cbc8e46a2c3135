"""Run a shipped ticket on ten images and see what the machine did.

python examples/simulate_a_ticket.py
"""

import evenspike as es

program = es.load("vgg16-small")
print(program)

packed = es.pack(program, es.preset("packed"))
run = es.simulate(packed, es.images(10, program))
print(run)

print(f"accuracy on these images: {run.accuracy:.0%}, energy {run.energy_pj / 1e6:.2f} uJ an image")
for layer in run.layers:
    print(f"{layer.name:8} {layer.cycles:10,.0f} cycles, {layer.utilization:.1%} of them busy")

# The proof: not one spike differs from the integer reference. It is compared in every run; here
# is the same by hand, with the first difference if there is one.
difference = run.compare(es.reference(program, es.images(10, program)))
print("bit-exact" if difference is None else difference)

for file in run.report().save("build/examples"):
    print("written:", file)
