"""Tests of jobs that may be suspended."""
