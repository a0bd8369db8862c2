"""What runs the example site where others can reach it; README.md says what each file is for."""
