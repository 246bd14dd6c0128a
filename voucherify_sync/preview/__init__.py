"""What can be seen before anything is sent: plan, explanations, coverage, mapping tests, the project itself."""
