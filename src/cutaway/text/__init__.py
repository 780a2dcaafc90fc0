"""What a language model says: scores of token rows, samples of a stated decoding, authors, whose training it was."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "answering": "Stability answer_probabilities evaluation_stability falls_against_first pass_at_k",
        "authorship": "any_time_p_values e_values monte_carlo_p_values",
        "completion": "complete random_calculations rouge_l_recall",
        "failed_steps": "WithinProblems correlation_within failed_step_fraction",
        "spread": "Isotropy isotropy",
        "provenance": "OrderTest check_random_order last_positions provenance_test row_losses told_losses",
        "sampling": "round_trip sample_tokens",
        "scoring": "Decoding TokenScores score_distributions score_tokens",
    },
)
