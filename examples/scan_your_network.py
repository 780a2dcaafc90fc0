"""Scan a network from Python: train something small, measure it with nulls, write the report, read one number.

python examples/scan_your_network.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from cutaway.demo import train_digits
from cutaway.instruments import Accuracy, RobustAccuracy, Sparsity
from cutaway.network import Network
from cutaway.report.page import write_report
from cutaway.scanning import ScanSettings, scan


def main(folder: str | None = None, *, epochs: int = 10, nulls: int = 19) -> float:
    """Scan, print the summaries, and return the robust accuracy."""
    model, data = train_digits(epochs=epochs)
    network = Network(model, data.inputs[:2], name="digits CNN")
    target = Path(folder) if folder else Path(tempfile.mkdtemp()) / "run"
    instruments = [Accuracy(), Sparsity(), RobustAccuracy(radius=0.1, steps=10)]
    run = scan(network, data, target, instruments=instruments, settings=ScanSettings(nulls=nulls))
    for reading in run.readings:
        print(reading.summary())
    print("report:", write_report(run))
    return run.readings[2].figure("robust_accuracy").value


if __name__ == "__main__":
    main(*sys.argv[1:2])
