# Written by tools/write_stubs.py from __init__.py.

from cutaway.text.answering import Stability as Stability
from cutaway.text.answering import answer_probabilities as answer_probabilities
from cutaway.text.answering import evaluation_stability as evaluation_stability
from cutaway.text.answering import falls_against_first as falls_against_first
from cutaway.text.answering import pass_at_k as pass_at_k
from cutaway.text.authorship import any_time_p_values as any_time_p_values
from cutaway.text.authorship import e_values as e_values
from cutaway.text.authorship import monte_carlo_p_values as monte_carlo_p_values
from cutaway.text.completion import complete as complete
from cutaway.text.completion import random_calculations as random_calculations
from cutaway.text.completion import rouge_l_recall as rouge_l_recall
from cutaway.text.failed_steps import WithinProblems as WithinProblems
from cutaway.text.failed_steps import correlation_within as correlation_within
from cutaway.text.failed_steps import failed_step_fraction as failed_step_fraction
from cutaway.text.provenance import OrderTest as OrderTest
from cutaway.text.provenance import check_random_order as check_random_order
from cutaway.text.provenance import last_positions as last_positions
from cutaway.text.provenance import provenance_test as provenance_test
from cutaway.text.provenance import row_losses as row_losses
from cutaway.text.provenance import told_losses as told_losses
from cutaway.text.sampling import round_trip as round_trip
from cutaway.text.sampling import sample_tokens as sample_tokens
from cutaway.text.scoring import Decoding as Decoding
from cutaway.text.scoring import TokenScores as TokenScores
from cutaway.text.scoring import score_distributions as score_distributions
from cutaway.text.scoring import score_tokens as score_tokens
from cutaway.text.spread import Isotropy as Isotropy
from cutaway.text.spread import isotropy as isotropy

__all__ = [
    "Decoding",
    "Isotropy",
    "OrderTest",
    "Stability",
    "TokenScores",
    "WithinProblems",
    "answer_probabilities",
    "any_time_p_values",
    "check_random_order",
    "complete",
    "correlation_within",
    "e_values",
    "evaluation_stability",
    "failed_step_fraction",
    "falls_against_first",
    "isotropy",
    "last_positions",
    "monte_carlo_p_values",
    "pass_at_k",
    "provenance_test",
    "random_calculations",
    "rouge_l_recall",
    "round_trip",
    "row_losses",
    "sample_tokens",
    "score_distributions",
    "score_tokens",
    "told_losses",
]
