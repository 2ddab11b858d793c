"""All of Ray: one phase a module, one public verb each. No maths in here."""
