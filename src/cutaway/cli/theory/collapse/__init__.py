"""`cutaway theory collapse COMMAND`: models that are trained again and again on what they made; each command is a file
here.

Every form prints, with `--json`, `series` (name to list of [x, value]) and `figures` (rows of name and value).
"""

from cutaway.cli.command import new_group

app = new_group("theory collapse", "Models that are trained on what they made.", __name__, __path__)
