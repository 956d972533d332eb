"""What is scored: logs, references and segmentations as people have them, checked."""
