"""Places of the Philippines, from region to barangay, and the pages that search them."""
