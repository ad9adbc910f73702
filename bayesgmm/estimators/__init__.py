"""scikit-learn classes: check, call, publish."""
