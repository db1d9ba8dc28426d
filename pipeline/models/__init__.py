"""Decoder language models: shapes, one decoder for three families, Hugging Face in and out."""
