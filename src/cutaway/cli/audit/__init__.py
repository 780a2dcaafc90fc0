"""`cutaway audit COMMAND`: try to break one claim about a network or its data, and say for whom it fails; each command
of it is a file here.

Every form prints, with `--json`, `readings` (rows as in `cutaway scan`), a `verdict` where there is one, and `report`,
the path of its page.
"""

from cutaway.cli.command import new_group

ABOUT = (
    "Audits: groups, pruning, distillation, variations, uncertainty under attack; tables of labels, answers, tunings, "
    "generations."
)

app = new_group("audit", ABOUT, __name__, __path__)
