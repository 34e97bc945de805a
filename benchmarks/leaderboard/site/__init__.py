"""Pages and data files of the leaderboard site."""
