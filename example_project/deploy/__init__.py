"""What puts the example site into production; README.md says what each file is for."""
