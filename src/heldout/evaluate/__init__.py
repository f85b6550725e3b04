"""What is known about a run or a blend: rows, held-out predictions, scores, comparisons, ablation, cost."""
