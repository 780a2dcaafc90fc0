"""`cutaway guard COMMAND`: guardrails on language models; each command of it is a file here."""

from cutaway.cli.command import new_group

app = new_group("guard", "Guardrails on language models.", __name__, __path__)
