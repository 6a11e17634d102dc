"""Filters of executions, such as `accuracy > 0.9 and step = train and branch ~ exp/*`."""
