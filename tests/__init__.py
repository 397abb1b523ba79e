"""Tests, one folder a tier; CONTRIBUTING.md says what each is for."""
