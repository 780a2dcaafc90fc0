"""What a network answers: worth of its probabilities, what it does not know, who is worst off, which rows matter."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "answers": "Predictions predictions",
        "calibration": "Reliability debiased_calibration_error expected_calibration_error reliability",
        "distilled_study": "Taught class_mean_rows study_distilled",
        "example_scores": "ExampleScores hardness mean_scores read_scores",
        "groups": "Cells Odds cells_of equalised_odds simultaneous_intervals",
        "label_filter": "ClassLeads FilterCounts FilterMargin break_even class_leads filter_margin",
        "latent_extremes": "LatentEffects effect_p_values latent_effects rank_effects sample_properties",
        "keeping": "kept_count prune recall_quotas",
        "cutaway.network.row_gradients": "row_gradient_norms",
        "pair_predictor": "PairNetwork PairPredictor",
        "pairs": "PairCheck PairProbabilities check_pairs pair_probabilities",
        "posterior": "Ensemble laplace_ensemble members_of",
        "calibrators": "IsotonicCalibrator TemperatureCalibrator load_calibrator save_calibrator",
        "private_means": "PrivateMeans fourier_features gaussian_noise private_class_means",
        "trajectory": "Matched distil_trajectory",
        "unrolled": "distil_unrolled",
        "pruning_study": "Arm PruningStudy class_recalls counted_trainer plain_trainer study_pruning",
        "probability": "CalibrationErrors brier_terms calibration_errors log_loss_terms miscalibration_p paired_terms",
    },
)
