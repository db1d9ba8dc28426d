"""Text to tokens: sources, tokenizer training, token shards."""
