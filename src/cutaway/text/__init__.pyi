# Written by tools/write_stubs.py from __init__.py.

from cutaway.text.authorship import any_time_p_values as any_time_p_values
from cutaway.text.authorship import e_values as e_values
from cutaway.text.authorship import monte_carlo_p_values as monte_carlo_p_values
from cutaway.text.sampling import round_trip as round_trip
from cutaway.text.sampling import sample_tokens as sample_tokens
from cutaway.text.scoring import Decoding as Decoding
from cutaway.text.scoring import TokenScores as TokenScores
from cutaway.text.scoring import score_tokens as score_tokens

__all__ = [
    "Decoding",
    "TokenScores",
    "any_time_p_values",
    "e_values",
    "monte_carlo_p_values",
    "round_trip",
    "sample_tokens",
    "score_tokens",
]
