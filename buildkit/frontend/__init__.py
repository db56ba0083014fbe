"""The only code that knows doit: dodo.py to Plan, doit's actions, doit's database semantics."""
