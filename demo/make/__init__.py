"""What builds the embedded default: texts, speech, models, head sets. Not in the wheel."""
