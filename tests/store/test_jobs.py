"""The store on disk keeps the promises about jobs."""

from tests.store.jobs_contract import *  # noqa: F403
