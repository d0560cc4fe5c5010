"""Load for a long time, with clients that behave and some that do not, and a verdict on what the servers did."""
