"""Tables, figures and pages of what evaluate knows: leaderboard, results, report, card, figures."""
