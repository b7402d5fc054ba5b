"""Fuzzing by coverage, with atheris: `python -m tests.fuzz --seconds=60` tries each target in a process of its own.

`targets` has what takes bytes from outside, and what to begin with.
"""
