"""The deployment kit: the example site as others may reach it. README.md says what each file is."""
