# Written by tools/write_stubs.py from __init__.py.

from cutaway.network.row_gradients import row_gradient_norms as row_gradient_norms
from cutaway.outputs.answers import Predictions as Predictions
from cutaway.outputs.answers import predictions as predictions
from cutaway.outputs.calibration import Reliability as Reliability
from cutaway.outputs.calibration import debiased_calibration_error as debiased_calibration_error
from cutaway.outputs.calibration import expected_calibration_error as expected_calibration_error
from cutaway.outputs.calibration import reliability as reliability
from cutaway.outputs.calibrators import IsotonicCalibrator as IsotonicCalibrator
from cutaway.outputs.calibrators import TemperatureCalibrator as TemperatureCalibrator
from cutaway.outputs.calibrators import load_calibrator as load_calibrator
from cutaway.outputs.calibrators import save_calibrator as save_calibrator
from cutaway.outputs.distilled_study import Taught as Taught
from cutaway.outputs.distilled_study import class_mean_rows as class_mean_rows
from cutaway.outputs.distilled_study import study_distilled as study_distilled
from cutaway.outputs.example_scores import ExampleScores as ExampleScores
from cutaway.outputs.example_scores import hardness as hardness
from cutaway.outputs.example_scores import mean_scores as mean_scores
from cutaway.outputs.example_scores import read_scores as read_scores
from cutaway.outputs.groups import Cells as Cells
from cutaway.outputs.groups import Odds as Odds
from cutaway.outputs.groups import cells_of as cells_of
from cutaway.outputs.groups import equalised_odds as equalised_odds
from cutaway.outputs.groups import simultaneous_intervals as simultaneous_intervals
from cutaway.outputs.keeping import kept_count as kept_count
from cutaway.outputs.keeping import prune as prune
from cutaway.outputs.keeping import recall_quotas as recall_quotas
from cutaway.outputs.label_filter import ClassLeads as ClassLeads
from cutaway.outputs.label_filter import FilterCounts as FilterCounts
from cutaway.outputs.label_filter import FilterMargin as FilterMargin
from cutaway.outputs.label_filter import break_even as break_even
from cutaway.outputs.label_filter import class_leads as class_leads
from cutaway.outputs.label_filter import filter_margin as filter_margin
from cutaway.outputs.latent_extremes import LatentEffects as LatentEffects
from cutaway.outputs.latent_extremes import effect_p_values as effect_p_values
from cutaway.outputs.latent_extremes import latent_effects as latent_effects
from cutaway.outputs.latent_extremes import rank_effects as rank_effects
from cutaway.outputs.latent_extremes import sample_properties as sample_properties
from cutaway.outputs.pair_predictor import PairNetwork as PairNetwork
from cutaway.outputs.pair_predictor import PairPredictor as PairPredictor
from cutaway.outputs.pairs import PairCheck as PairCheck
from cutaway.outputs.pairs import PairProbabilities as PairProbabilities
from cutaway.outputs.pairs import check_pairs as check_pairs
from cutaway.outputs.pairs import pair_probabilities as pair_probabilities
from cutaway.outputs.posterior import Ensemble as Ensemble
from cutaway.outputs.posterior import laplace_ensemble as laplace_ensemble
from cutaway.outputs.posterior import members_of as members_of
from cutaway.outputs.private_means import PrivateMeans as PrivateMeans
from cutaway.outputs.private_means import fourier_features as fourier_features
from cutaway.outputs.private_means import gaussian_noise as gaussian_noise
from cutaway.outputs.private_means import private_class_means as private_class_means
from cutaway.outputs.probability import CalibrationErrors as CalibrationErrors
from cutaway.outputs.probability import brier_terms as brier_terms
from cutaway.outputs.probability import calibration_errors as calibration_errors
from cutaway.outputs.probability import log_loss_terms as log_loss_terms
from cutaway.outputs.probability import miscalibration_p as miscalibration_p
from cutaway.outputs.probability import paired_terms as paired_terms
from cutaway.outputs.pruning_study import Arm as Arm
from cutaway.outputs.pruning_study import PruningStudy as PruningStudy
from cutaway.outputs.pruning_study import class_recalls as class_recalls
from cutaway.outputs.pruning_study import counted_trainer as counted_trainer
from cutaway.outputs.pruning_study import plain_trainer as plain_trainer
from cutaway.outputs.pruning_study import study_pruning as study_pruning
from cutaway.outputs.trajectory import Matched as Matched
from cutaway.outputs.trajectory import distil_trajectory as distil_trajectory
from cutaway.outputs.unrolled import distil_unrolled as distil_unrolled

__all__ = [
    "Arm",
    "CalibrationErrors",
    "Cells",
    "ClassLeads",
    "Ensemble",
    "ExampleScores",
    "FilterCounts",
    "FilterMargin",
    "IsotonicCalibrator",
    "LatentEffects",
    "Matched",
    "Odds",
    "PairCheck",
    "PairNetwork",
    "PairPredictor",
    "PairProbabilities",
    "Predictions",
    "PrivateMeans",
    "PruningStudy",
    "Reliability",
    "Taught",
    "TemperatureCalibrator",
    "break_even",
    "brier_terms",
    "calibration_errors",
    "cells_of",
    "check_pairs",
    "class_leads",
    "class_mean_rows",
    "class_recalls",
    "counted_trainer",
    "debiased_calibration_error",
    "distil_trajectory",
    "distil_unrolled",
    "effect_p_values",
    "equalised_odds",
    "expected_calibration_error",
    "filter_margin",
    "fourier_features",
    "gaussian_noise",
    "hardness",
    "kept_count",
    "laplace_ensemble",
    "latent_effects",
    "load_calibrator",
    "log_loss_terms",
    "mean_scores",
    "members_of",
    "miscalibration_p",
    "pair_probabilities",
    "paired_terms",
    "plain_trainer",
    "predictions",
    "private_class_means",
    "prune",
    "rank_effects",
    "read_scores",
    "recall_quotas",
    "reliability",
    "row_gradient_norms",
    "sample_properties",
    "save_calibrator",
    "simultaneous_intervals",
    "study_distilled",
    "study_pruning",
]
