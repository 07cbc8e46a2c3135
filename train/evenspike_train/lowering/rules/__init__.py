"""Rules: what each torch function makes of tensors of known content."""
