"""The ground floor: what every room needs and that knows of none."""
