# Written by tools/write_stubs.py from __init__.py.

from cutaway.dynamics.collapse_regression import RegressionChain as RegressionChain
from cutaway.dynamics.collapse_regression import interpolating_error as interpolating_error
from cutaway.dynamics.collapse_regression import simulated_chain as simulated_chain
from cutaway.dynamics.collapse_tails import TailModel as TailModel
from cutaway.dynamics.data_exponents import DataExponents as DataExponents
from cutaway.dynamics.data_exponents import exponents_of_data as exponents_of_data
from cutaway.dynamics.dmft import MeanFieldPath as MeanFieldPath
from cutaway.dynamics.dmft import MeanFieldProblem as MeanFieldProblem
from cutaway.dynamics.dmft import integrate_mean_field as integrate_mean_field
from cutaway.dynamics.exit_time import ExitSetting as ExitSetting
from cutaway.dynamics.exit_time import annealed_exit_time as annealed_exit_time
from cutaway.dynamics.exit_time import optimal_rate as optimal_rate
from cutaway.dynamics.exit_time import quenched_exit_time as quenched_exit_time
from cutaway.dynamics.exit_time import samples_factor as samples_factor
from cutaway.dynamics.exponents import Exponent as Exponent
from cutaway.dynamics.exponents import generative_exponent as generative_exponent
from cutaway.dynamics.exponents import information_exponent as information_exponent
from cutaway.dynamics.exponents import sample_complexity as sample_complexity
from cutaway.dynamics.growth import GrowthFit as GrowthFit
from cutaway.dynamics.growth import fit_growth as fit_growth
from cutaway.dynamics.hierarchical import HierarchicalTarget as HierarchicalTarget
from cutaway.dynamics.hierarchical import hierarchical_target as hierarchical_target
from cutaway.dynamics.lazy_rich import LazyRichPath as LazyRichPath
from cutaway.dynamics.lazy_rich import LazyRichSetting as LazyRichSetting
from cutaway.dynamics.lazy_rich import train_lazy_rich as train_lazy_rich
from cutaway.dynamics.modular_addition import ModularPath as ModularPath
from cutaway.dynamics.modular_addition import ModularSetting as ModularSetting
from cutaway.dynamics.modular_addition import train_modular as train_modular
from cutaway.dynamics.ode import OverlapPath as OverlapPath
from cutaway.dynamics.ode import OverlapProblem as OverlapProblem
from cutaway.dynamics.ode import integrate as integrate
from cutaway.dynamics.phase import PhaseBoundary as PhaseBoundary
from cutaway.dynamics.phase import phase_boundary as phase_boundary
from cutaway.dynamics.phase import steps_needed as steps_needed
from cutaway.dynamics.pictures import overlay_figure as overlay_figure
from cutaway.dynamics.pictures import path_figure as path_figure
from cutaway.dynamics.pictures import phase_figure as phase_figure
from cutaway.dynamics.robust_linear import Overlaps as Overlaps
from cutaway.dynamics.robust_linear import RobustProblem as RobustProblem
from cutaway.dynamics.robust_linear import best_error as best_error
from cutaway.dynamics.robust_linear import minimised as minimised
from cutaway.dynamics.robust_linear import state_evolution as state_evolution
from cutaway.dynamics.simulation import SimulatedPath as SimulatedPath
from cutaway.dynamics.simulation import Simulation as Simulation
from cutaway.dynamics.simulation import simulate as simulate
from cutaway.dynamics.staircase import Leap as Leap
from cutaway.dynamics.staircase import leap as leap
from cutaway.dynamics.targets import Target as Target
from cutaway.dynamics.targets import committee as committee
from cutaway.dynamics.targets import target as target

__all__ = [
    "DataExponents",
    "ExitSetting",
    "Exponent",
    "GrowthFit",
    "HierarchicalTarget",
    "LazyRichPath",
    "LazyRichSetting",
    "Leap",
    "MeanFieldPath",
    "MeanFieldProblem",
    "ModularPath",
    "ModularSetting",
    "OverlapPath",
    "OverlapProblem",
    "Overlaps",
    "PhaseBoundary",
    "RegressionChain",
    "RobustProblem",
    "SimulatedPath",
    "Simulation",
    "TailModel",
    "Target",
    "annealed_exit_time",
    "best_error",
    "committee",
    "exponents_of_data",
    "fit_growth",
    "generative_exponent",
    "hierarchical_target",
    "information_exponent",
    "integrate",
    "integrate_mean_field",
    "interpolating_error",
    "leap",
    "minimised",
    "optimal_rate",
    "overlay_figure",
    "path_figure",
    "phase_boundary",
    "phase_figure",
    "quenched_exit_time",
    "sample_complexity",
    "samples_factor",
    "simulate",
    "simulated_chain",
    "state_evolution",
    "steps_needed",
    "target",
    "train_lazy_rich",
    "train_modular",
]
