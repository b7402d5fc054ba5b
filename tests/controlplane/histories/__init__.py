"""Histories: what clients asked and were answered while everything was hurt, and what a checker says of that.

`record` is one call and its answer; `clients` make calls, `faults` hurt, `course` runs both; `verdict` asserts what the
API promises, and has `checker/`, on porcupine, judge the writes. `python -m tests.controlplane.histories --minutes=10`.
"""
