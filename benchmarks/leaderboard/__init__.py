"""The leaderboard: boards, claims page and site, built from records alone."""
