"""Declared hardware: profiles, probe of this machine, threads, energy, the lock that serialises timing."""
