"""What every other part of rewho stands on; imports nothing of ours."""
