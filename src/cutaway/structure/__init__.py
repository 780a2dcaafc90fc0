"""What a network's structure is: which connections are alive, and how pruning budgets are shared out.

`wire` a network once, read `live_connections` of it under its own zeros or under masks; `quotas` and `random_masks`,
`prune_to_effective` and `synflow` make masks, `apply_masks` puts them in, `export_pruned` writes what does something,
`without_dead_units` takes dead units really out and `save_shrunk` writes the smaller network.
`units_of` and `unit_crossings` say where each unit bends, `without_units` leaves some out.
`pruned`, `without_biases` and `with_statistics_of` make plain variants of any module.
`kan_to_relu` makes a KAN of linear splines a ReLU network that geometry, bounds and certificates read.
"""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "criticality": "CriticalPoint Growth critical_point gaussian_moments growth_by_layer kernel_by_depth",
        "densities": "quotas random_masks",
        "export": "Exported export_pruned load_pruned",
        "kan": "KanConversion kan_to_relu",
        "live": "Live live_connections",
        "narrowing": "narrowed",
        "pruning": "apply_masks keep_best magnitude path_scores prune_to_effective synflow",
        "shrinking": "GraphNetwork Shrunk save_shrunk straight without_dead_units",
        "variants": "pruned with_statistics_of without_biases",
        "units": "UnitCrossings UnitMask UnitTable geometry_score least_units magnitude_score slice_densities "
        "unit_crossings units_of without_units",
        "wiring": "Weight Wiring effective_weights wire",
    },
)
