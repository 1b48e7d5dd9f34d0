"""Rewards for all tasks: answer extraction, format, mathematics, programs, and an LLM judge."""
