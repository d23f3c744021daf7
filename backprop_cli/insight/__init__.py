"""What a run or a picture tells: figures, explanations, findings."""
