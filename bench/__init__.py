"""What conveyor costs, as ratios to others in one run. `python -m bench --help`."""
