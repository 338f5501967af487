"""Fine-tuning on conversations: reading them, and the one mechanism by which Sft and Dpo train through TRL."""
