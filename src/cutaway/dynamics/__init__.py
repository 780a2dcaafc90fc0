"""Two-layer networks on multi-index targets: exponents, closed equations of the overlaps, thresholds, simulators."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "collapse_regression": "RegressionChain interpolating_error simulated_chain",
        "collapse_tails": "TailModel",
        "growth": "GrowthFit fit_growth",
        "data_exponents": "DataExponents exponents_of_data",
        "dmft": "MeanFieldPath MeanFieldProblem integrate_mean_field",
        "exit_time": "ExitSetting annealed_exit_time optimal_rate quenched_exit_time samples_factor",
        "exponents": "Exponent generative_exponent information_exponent sample_complexity",
        "hierarchical": "HierarchicalTarget hierarchical_target",
        "lazy_rich": "LazyRichPath LazyRichSetting train_lazy_rich",
        "modular_addition": "ModularPath ModularSetting train_modular",
        "ode": "OverlapPath OverlapProblem integrate",
        "phase": "PhaseBoundary phase_boundary steps_needed",
        "pictures": "overlay_figure path_figure phase_figure",
        "robust_linear": "Overlaps RobustProblem best_error minimised state_evolution",
        "staircase": "Leap leap",
        "simulation": "SimulatedPath Simulation simulate",
        "targets": "Target committee target",
    },
)
