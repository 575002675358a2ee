"""The store on disk keeps the promises about runs."""

from tests.store.runs_contract import *  # noqa: F403
