"""What the shipped scripts of steps 2.5 to 5 share; docs/steps.md has the whole story."""
