"""Submit Python functions as jobs and get their results back, in the shape of the package submitit."""

from greenrun.submitit.function_executor import Executor
from greenrun.submitit.function_job import FailedJobError, FunctionJob, UncompletedJobError

__all__ = ["Executor", "FailedJobError", "FunctionJob", "UncompletedJobError"]
