"""Training and tuning jobs."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Text

from clary.store.tables.base import resource_table

_JOB = (
    # control: what is wanted
    ("spec", Text, False),
    ("stop_requested_us", BigInteger, True),
    # reconcile: what was observed; NULL until it looked at the job
    ("observed", String(24), True),
    ("observed_us", BigInteger, True),
    ("ended_us", BigInteger, True),
    ("record", Text, True),
)

# `observed`: a phase (domain/training.py). `tuning_uid`: the tuning job that made it, whose reconcile wrote its row.
training_jobs = resource_table(
    "training_jobs",
    *(Column(name, kind, nullable=nullable) for name, kind, nullable in _JOB),
    Column("tuning_uid", String(26)),
)
Index("training_jobs_by_end", training_jobs.c.ended_us)
Index("training_jobs_by_tuning", training_jobs.c.tuning_uid)

# `observed`: a status (domain/tuning.py).
tuning_jobs = resource_table("tuning_jobs", *(Column(name, kind, nullable=nullable) for name, kind, nullable in _JOB))
Index("tuning_jobs_by_end", tuning_jobs.c.ended_us)
