"""What people use: submissions, predictions for new patients, leaderboard, results, figures and the demo."""
