"""What can be seen before anything is sent: plans, explanations, coverage, mapping tests, the project's own answers."""
