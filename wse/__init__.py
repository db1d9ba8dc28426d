"""The wafer-scale engine, simulated: numpy only, importable without the training pipeline."""
