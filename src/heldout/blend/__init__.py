"""Out-of-fold predictions in, a sealed decision and one test score out."""
