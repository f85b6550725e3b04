"""Out-of-fold predictions in, a sealed decision and one honest test score out."""
