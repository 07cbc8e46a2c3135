"""Change the machine and compare: PEs and FIFO depth, on a ticket's own images.

python examples/change_the_machine.py
"""

import evenspike as es

archs = es.grid("packed,pes=4|8|16", {"fifo_depth": (16, 64)})
comparison = es.compare(["vgg16-small"], archs, images=2, backend="threading")

for point in comparison.points:
    print(
        f"{point.model} on {point.fields}: {point.cycles:,.0f} cycles, "
        f"utilization {point.utilization:.2f}, {point.area_transistors / 1e6:.1f} M transistors"
    )
    for warning in point.warnings:
        print("  ", warning)

fastest = min(comparison.points, key=lambda point: point.cycles)
smallest = min(comparison.points, key=lambda point: point.area_transistors)
print("fastest:", fastest.arch)
print("smallest:", smallest.arch)
for file in comparison.save("build/examples"):
    print("written:", file)
