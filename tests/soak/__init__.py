"""Hours that leave no trace: `python -m tests.soak --minutes=60`.

`stirring` keeps everything busy, `sampling` looks at what grows; `__main__` runs both, and judges.
"""
