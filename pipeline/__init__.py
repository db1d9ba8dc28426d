"""The experiment pipeline: text to tokens to trained, evaluated and logged models."""
