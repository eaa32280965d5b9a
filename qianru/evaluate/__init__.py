"""Evaluation: tasks in, Results out."""
