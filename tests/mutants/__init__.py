"""Which changes of the core modules would no test notice? Mutants that mutmut makes, and a sample of them tried.

`[tool.mutmut]` of pyproject.toml says which modules, and which tests judge them.
"""
